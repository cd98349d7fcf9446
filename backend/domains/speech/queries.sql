-- request_speech --
-- the job, and the attempt that makes its voice where there is none; the text is not repeated in the answer
select id from voice_clone.request_speech(
  %(job)s, %(user)s, %(sample)s, %(provider)s, %(region)s, %(text)s, %(name)s, %(per_day)s)

-- retry_speech --
-- the same job and text; another attempt where the voice was not made
select id from voice_clone.retry_speech(%(job)s, %(user)s, %(name)s, %(per_day)s)

-- delete_speech_job --
-- with its text and its speech
select voice_clone.delete_speech_job(%(job)s, %(user)s) as deleted

-- speech_jobs --
-- under row level security: the caller's own, newest first
select j.id, j.sample_id, j.attempt_id, j.provider, j.status, j.characters, j.error_code, j.error_message, j.request_id,
  j.retry_count, j.path, j.bytes, j.created_at, j.updated_at, j.finished_at, j.expires_at, j.removed_at
from public.speech_jobs j
where (j.created_at, j.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by j.created_at desc, j.id desc limit %(limit)s

-- speech_job --
-- under row level security: another's is not there
select j.id, j.sample_id, j.attempt_id, j.provider, j.status, j.characters, j.error_code, j.error_message, j.request_id,
  j.retry_count, j.path, j.bytes, j.created_at, j.updated_at, j.finished_at, j.expires_at, j.removed_at,
  a.taken_down_at is not null as is_taken_down
from public.speech_jobs j left join public.voice_clone_attempts a on a.id = j.attempt_id where j.id = %(job)s
