-- open --
-- the sample and its attempt, one round trip
select voice_id from voice_clone.open_attempt(
  %(attempt)s, %(user)s, %(consent)s, %(reflection)s, %(provider)s, %(region)s,
  %(path)s, %(content_type)s, %(bytes)s, %(preview_required)s, %(per_day)s, %(name)s, %(language)s, %(transcript)s)

-- queue --
-- activates and supersedes; the message is delayed, because the caller works inline first
select * from voice_clone.queue_attempt(
  %(attempt)s, %(user)s, %(name)s, %(language)s, %(transcript)s, %(delay)s)

-- upload_of_voice --
-- what finalize needs to know of an upload, by the voice it will become
select a.id, a.user_id, a.status, a.provider
from public.voice_clone_attempts a where a.voice_id = %(voice)s

-- measures --
-- what inspection measured of these samples; under row level security
select s.id, s.language, s.measures from public.voice_samples s
where s.id = any(%(samples)s::uuid[]) and s.status = 'ready'

-- check_opening --
-- what opening an upload requires, before a sample in a request is decoded
select voice_clone.check_opening(
  %(user)s, %(consent)s, %(reflection)s, %(per_day)s, %(provider)s, %(region)s)

-- claim_upload --
-- the lease of an upload's sample, and what there is to do; no epoch where the sample is ready
select 'claimed' as outcome, null::int as retry_after_seconds, c.lease_epoch, to_jsonb(w) as work
from voice_clone.claim_upload(%(attempt)s, %(user)s, %(worker)s, %(language)s, %(transcript)s) c
cross join lateral voice_clone.claimed_sample(c.sample_id) w

-- user_of --
-- whose turn it is, before the claim
select owner_id from voice_clone.claimed_sample(%(sample)s)

-- claim --
-- the claim and what there is to do, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_sample(%(sample)s, %(worker)s, %(user_cap)s, %(inline)s) c
left join lateral voice_clone.claimed_sample(%(sample)s) w on c.outcome = 'claimed'

-- renew --
-- false where another worker has taken over
select voice_clone.renew_sample(%(sample)s, %(epoch)s)

-- complete --
-- ready, with its prepared WAV
select voice_clone.complete_sample(
  %(sample)s, %(epoch)s, %(content_type)s, %(bytes)s, %(measures)s, %(prepared_path)s, %(prepared_bytes)s, %(message)s,
  %(content_hash)s)

-- refuse --
-- the sample is at fault
select voice_clone.refuse_sample(%(sample)s, %(epoch)s, %(code)s, %(error)s, %(measures)s, %(message)s)

-- requeue --
-- later, or failed where its budget is used
select voice_clone.requeue_sample(
  %(sample)s, %(epoch)s, %(delay)s, %(code)s, %(error)s, %(failure)s, %(message)s)

-- check_sample --
-- what a new sample requires, before its file is read
select voice_clone.check_sample(%(user)s, %(consent)s, %(open)s, %(per_day)s, %(sample)s)

-- add --
-- a sample whose file is about to be stored; the same id again is the same sample
select id, status, path from voice_clone.add_sample(
  %(sample)s, %(user)s, %(consent)s, %(reflection)s, %(kept)s, %(name)s, %(language)s, %(transcript)s,
  %(path)s, %(content_type)s, %(bytes)s, %(open)s, %(per_day)s)

-- receive --
-- its file is stored: the consumer gets a message
select voice_clone.receive_sample(%(sample)s, %(user)s)

-- delete --
-- with its files; false where there is none
select voice_clone.delete_sample(%(sample)s, %(user)s)

-- stored --
-- under row level security: the caller's own, newest first
select s.id, s.name, s.language, s.status, s.file_url, s.content_type, s.bytes, s.measures, s.error_code, s.error_message,
  s.created_at, s.ready_at
from public.voice_samples s where s.is_kept and s.status <> 'removed'
  and (s.created_at, s.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by s.created_at desc, s.id desc limit %(limit)s

-- stored_by_id --
-- one of them, also one that belongs to an attempt
select s.id, s.name, s.language, s.status, s.file_url, s.content_type, s.bytes, s.measures, s.error_code, s.error_message,
  s.created_at, s.ready_at
from public.voice_samples s where s.id = %(sample)s and s.status <> 'removed'

-- upload_to_finalize --
-- what was said when the upload was opened; no row where nothing is to be done
select id, user_id, status, provider, name, language, transcript from voice_clone.upload_to_finalize(%(attempt)s)

-- refuse_upload --
-- why, for its owner
select voice_clone.refuse_upload(%(attempt)s, %(code)s, %(error)s, %(message)s)
