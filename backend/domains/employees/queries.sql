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
from voice_clone.sign_invitation(%(employee)s, %(token_hash)s, %(locale)s, %(signer)s, %(version)s) c
join public.voice_consent_statements s on s.id = c.statement_id

-- revoke_by_invitation --
-- an entry like any other; ends what the consent covered
select c.revokes as consent_id, c.recorded_at as revoked_at, encode(c.hash, 'hex') as hash
from voice_clone.revoke_by_invitation(%(employee)s, %(token_hash)s) c

-- check_clone --
-- what add_recording would raise, before the recording is read
select voice_clone.check_employee_clone(%(employee)s, %(user)s, %(per_day)s)

-- add_recording --
-- the copy that is inspected; the same id again is the same sample
select s.id, s.status, s.path
from voice_clone.add_recording(
  %(sample)s, %(employee)s, %(user)s, %(language)s, %(path)s, %(content_type)s, %(bytes)s, %(per_day)s) s

-- drop_recording --
-- the copy of a recording that was refused
select voice_clone.drop_recording(%(sample)s, %(employee)s)

-- clone_recording --
-- opened and queued at once: the recording passed
select * from voice_clone.clone_recording(
  %(attempt)s, %(sample)s, %(employee)s, %(user)s, %(provider)s, %(region)s, %(preview_required)s, %(per_day)s)

-- voice --
-- the mirror and the gate, for a member
select * from voice_clone.employee_voice(%(employee)s, %(user)s)

-- request_preview --
-- render the clip, again where there is one
select * from voice_clone.request_employee_preview(%(employee)s, %(user)s)

-- complete_preview --
-- an admin heard it
select * from voice_clone.complete_employee_preview(%(employee)s, %(user)s)

-- retry --
-- what failed, again
select * from voice_clone.retry_employee_attempt(%(employee)s, %(user)s)

-- sample --
-- of the active attempt, with where its voice is; for an admin
select attempt_id, provider, region, account, language, measures from voice_clone.sample_of_employee(%(employee)s, %(user)s)

-- retry_elsewhere --
-- the same sample at another provider
select * from voice_clone.retry_employee_elsewhere(
  %(attempt)s, %(employee)s, %(user)s, %(failed)s, %(provider)s, %(region)s, %(preview_required)s)

-- restore --
-- back to the voice that worked
select * from voice_clone.restore_employee_attempt(%(employee)s, %(user)s)

-- move --
-- a new attempt of the same sample at another provider, which supersedes
select * from voice_clone.move_employee_voice(
  %(attempt)s, %(employee)s, %(user)s, %(provider)s, %(region)s, %(accounts)s, %(switch)s, %(preview_required)s, %(per_day)s)

-- reset --
-- no voice from now on; the recording stays
select * from voice_clone.reset_employee_attempt(%(employee)s, %(user)s)

-- delete_voice --
-- silent at once, and removed
select voice_clone.delete_employee_voice(%(employee)s, %(user)s)

-- attempts --
-- newest first, under row level security; with the index on (employee_id, created_at, id)
select
  a.id, a.user_id, a.reflection_id, a.employee_id, a.sample_id, a.voice_id, a.source, a.name, a.language, a.status, a.runtime_status,
  a.preview_status, a.is_active, a.version, a.not_before, a.provider, a.region, a.target_model, a.request_id,
  a.preview_path, a.error_code, a.error_message, a.cancel_reason, a.created_at, a.updated_at, a.queued_at, a.ready_at,
  a.failed_at, a.cancelled_at, a.synced_at, a.previewed_at
from public.voice_clone_attempts a
where a.employee_id = %(employee)s and (a.created_at, a.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by a.created_at desc, a.id desc limit %(limit)s

-- claim_file --
-- the claim, the version and what it says, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_employee_file(%(employee)s) c
left join lateral voice_clone.claimed_employee_file(%(employee)s) w on c.outcome = 'claimed'

-- confirm_file --
-- Storage has this version; written, or late where another worker had taken over
select voice_clone.confirm_employee_file(%(employee)s, %(epoch)s, %(version)s, %(message)s)

-- release_file --
-- Storage did not take it, or nobody knows
select voice_clone.release_employee_file(%(employee)s, %(epoch)s, %(code)s, %(is_unknown)s)

-- begin_recording_clone --
-- the object to clone; no row where that has ended
select id, employee_id, object_version, language from voice_clone.begin_recording_clone(%(clone)s)

-- queue_recording_clone --
-- clone_recording, with the end of the row and the acknowledgement of its message
select voice_clone.queue_recording_clone(
  %(clone)s, %(employee)s, %(provider)s, %(region)s, %(preview_required)s, %(per_day)s, %(message)s)

-- end_recording_clone --
-- refused, or superseded by a newer object
select voice_clone.end_recording_clone(%(clone)s, %(status)s, %(code)s, %(error)s, %(message)s)

-- postpone_recording_clone --
-- why this try failed
select voice_clone.postpone_recording_clone(%(clone)s, %(code)s, %(error)s)
