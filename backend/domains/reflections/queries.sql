-- voice --
-- the mirror as clients read it, and the gate beside it; no row for a caller who is not the owner
select * from voice_clone.reflection_voice(%(reflection)s, %(user)s)

-- start_session --
-- refused with the blockers when the gate is shut
select id as session_id, reflection_id, attempt_id, voice_id, created_at
from voice_clone.start_session(%(reflection)s, %(user)s)

-- request_preview --
-- render the clip, again where there is one
select * from voice_clone.request_preview(%(reflection)s, %(user)s)

-- complete_preview --
-- the owner heard it
select * from voice_clone.complete_preview(%(reflection)s, %(user)s)

-- exists --
-- for its owner
select exists (select from voice_clone.launch_gate(%(reflection)s, %(user)s))

-- retry --
-- what failed, again
select * from voice_clone.retry_attempt(%(reflection)s, %(user)s)

-- active --
-- what a retry needs of the attempt it is about, and what was measured of its sample; under row level security
select a.id, a.provider, a.language, s.measures
from public.voice_clone_attempts a
left join public.voice_samples s on s.id = a.sample_id
where a.reflection_id = %(reflection)s and a.is_active

-- retry_elsewhere --
-- the same sample at another provider
select * from voice_clone.retry_elsewhere(
  %(attempt)s, %(reflection)s, %(user)s, %(failed)s, %(provider)s, %(region)s, %(preview_required)s)

-- reset --
-- no voice from now on
select * from voice_clone.reset_attempt(%(reflection)s, %(user)s)

-- restore --
-- back to the voice that worked
select * from voice_clone.restore_attempt(%(reflection)s, %(user)s)

-- clone_sample --
-- opened and queued at once: the sample passed before
select * from voice_clone.clone_sample(
  %(attempt)s, %(user)s, %(sample)s, %(reflection)s, %(provider)s, %(region)s, %(preview_required)s, %(name)s,
  %(per_day)s)
