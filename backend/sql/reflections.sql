-- voice --
-- the mirror as clients read it, and the gate beside it; under row level security
select r.voice, public.launch_gate(r.id) as gate, a.source, a.preview_path
from public.reflections r
left join public.attempts a on a.reflection_id = r.id and a.is_active
where r.id = %(reflection)s

-- launch_gate --
-- one statement, one round trip; no row when the reflection is another's
select launchable, blockers from voice_clone.launch_gate(%(reflection)s, %(user)s)

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
-- under row level security: another's does not
select exists (select from public.reflections r where r.id = %(reflection)s)

-- retry --
-- what failed, again
select * from voice_clone.retry_attempt(%(reflection)s, %(user)s)

-- reset --
-- no voice from now on
select * from voice_clone.reset_attempt(%(reflection)s, %(user)s)

-- restore --
-- back to the voice that worked
select * from voice_clone.restore_attempt(%(reflection)s, %(user)s)
