-- open --
-- replaces the user's sentence before
select id as challenge_id, sentence, expires_at from voice_clone.open_challenge(%(user)s, %(locale)s, %(version)s, %(sentence)s)

-- take --
-- once, whatever is found in the recording
select voice_clone.take_challenge(%(user)s, %(challenge)s)

-- sign --
-- the next entry of the person's chain, with what was found
select c.id as consent_id, s.statement, s.version, s.locale,
  jsonb_build_object('kind', c.subject_kind, 'id', c.subject_id) as subject,
  c.recorded_at as signed_at, encode(c.hash, 'hex') as hash
from voice_clone.sign_spoken_consent(%(user)s, %(challenge)s, %(subject_kind)s, %(subject_id)s, %(proof)s) c
join public.voice_consent_statements s on s.id = c.statement_id
