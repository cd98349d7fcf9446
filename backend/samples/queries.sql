-- open --
-- the sample and its attempt, one round trip
select voice_id from voice_clone.open_attempt(
  %(attempt)s, %(user)s, %(consent)s, %(reflection)s, %(provider)s, %(region)s,
  %(path)s, %(content_type)s, %(bytes)s, %(preview_required)s, %(per_day)s)

-- queue --
-- activates and supersedes; the message is delayed, because the caller works inline first
select * from voice_clone.queue_attempt(
  %(attempt)s, %(user)s, %(name)s, %(language)s, %(transcript)s, %(content_type)s, %(bytes)s,
  %(measures)s, %(prepared_path)s, %(prepared_bytes)s, %(delay)s, %(inspection)s)

-- upload_of_voice --
-- what finalize needs to know of an upload, by the voice it will become
select a.id, a.user_id, a.status, a.provider, s.path
from public.voice_clone_attempts a
join public.voice_samples s on s.id = a.sample_id
where a.voice_id = %(voice)s

-- measures --
-- what inspection measured of these samples; under row level security
select s.id, s.language, s.measures from public.voice_samples s
where s.id = any(%(samples)s::uuid[]) and s.measures is not null

-- check_opening --
-- what opening an upload requires, before a sample in a request is decoded
select voice_clone.check_opening(
  %(user)s, %(consent)s, %(reflection)s, %(per_day)s, %(provider)s, %(region)s)

-- begin --
-- the epoch of the inspection's lease
select voice_clone.begin_inspection(%(attempt)s, %(user)s)

-- renew --
-- false where another call has taken over
select voice_clone.renew_inspection(%(attempt)s, %(epoch)s)

-- end --
-- so that the next call need not wait until the lease is over
select voice_clone.end_inspection(%(attempt)s, %(epoch)s)
