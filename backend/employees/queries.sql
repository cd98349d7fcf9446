-- invite --
-- by an admin; replaces a link that was not signed
select i.id as invitation_id, i.expires_at
from voice_clone.invite_employee(%(employee)s, %(user)s, %(token_hash)s, %(seconds)s) i

-- find_invitation --
-- of a link, whether it signs or only revokes
select voice_clone.find_invitation(%(employee)s, %(token_hash)s)

-- read_invitation --
-- what the employee reads
select i.full_name, i.organization, i.statement, i.version, i.locale, i.body, i.expires_at, i.signed_at, i.revoked_at
from voice_clone.read_invitation(%(employee)s, %(token_hash)s, %(locale)s) i

-- sign_invitation --
-- the next entry of the employee's chain, or of that of the user who signs
select c.id as consent_id, c.org_id as organization_id, c.subject_id as employee_id, c.method, s.statement, s.version, s.locale,
  c.recorded_at as signed_at, encode(c.hash, 'hex') as hash
from voice_clone.sign_invitation(%(employee)s, %(token_hash)s, %(locale)s, %(signer)s) c
join public.voice_consent_statements s on s.id = c.statement_id

-- revoke_by_invitation --
-- an entry like any other; ends what the consent covered
select c.revokes as consent_id, c.recorded_at as revoked_at, encode(c.hash, 'hex') as hash
from voice_clone.revoke_by_invitation(%(employee)s, %(token_hash)s) c
