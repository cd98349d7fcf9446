-- statements --
-- the latest version of each, every locale
select distinct on (s.statement, s.locale) s.statement, s.version, s.locale, s.body,
  s.statement = 'voice_clone' and voice_clone.is_spoken_consent_required() as spoken
from public.voice_consent_statements s
order by s.statement, s.locale, s.version desc

-- sign --
-- the next entry of the person's chain
select c.id as consent_id, s.statement, s.version, s.locale,
  jsonb_build_object('kind', c.subject_kind, 'id', c.subject_id) as subject,
  c.recorded_at as signed_at, encode(c.hash, 'hex') as hash
from voice_clone.sign_consent(%(user)s, %(statement)s, %(locale)s, %(subject_kind)s, %(subject_id)s, %(version)s) c
join public.voice_consent_statements s on s.id = c.statement_id

-- revoke --
-- an entry like any other; cancels what the consent covered
select c.revokes as consent_id, c.recorded_at as revoked_at, encode(c.hash, 'hex') as hash
from voice_clone.revoke_consent(%(consent)s, %(user)s) c
