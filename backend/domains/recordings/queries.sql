-- receive --
-- the same recording again changes nothing
select recording_id, status, is_new from voice_clone.receive_recording(
  %(account_sid)s, %(call_sid)s, %(recording_sid)s, %(recorded_at)s, %(seconds)s, %(channels)s, %(organization)s)

-- list --
-- of the organizations whose admin the user is, newest first
select * from voice_clone.list_recordings(
  %(user)s, %(status)s, %(before)s::timestamptz, %(before_id)s::uuid, %(limit)s)

-- assign --
-- by an admin of the organization of both
select voice_clone.assign_recording(%(recording)s, %(employee)s, %(user)s)

-- claim --
-- the claim and what there is to do, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_recording(%(recording)s, %(worker)s) c
left join lateral voice_clone.claimed_recording(%(recording)s) w on c.outcome = 'claimed'

-- renew --
-- false where another worker has taken over
select voice_clone.renew_recording(%(recording)s, %(epoch)s)

-- complete --
-- the employee's object has its audio
select voice_clone.complete_recording(%(recording)s, %(epoch)s, %(bytes)s, %(message)s)

-- fail --
-- the recording itself is at fault
select voice_clone.fail_recording(%(recording)s, %(epoch)s, %(code)s, %(error)s, %(message)s)

-- requeue --
-- later, or failed where its budget is used
select voice_clone.requeue_recording(
  %(recording)s, %(epoch)s, %(delay)s, %(code)s, %(error)s, %(is_outage)s, %(message)s)

-- remove_late --
-- stored after the lease was lost
select voice_clone.remove_late_recording(%(employee)s)
