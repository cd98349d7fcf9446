-- followed --
-- library voices of one person, as a restored dump would bring them; a change of them sends no message
insert into public.voice_clone_attempts (
  id, user_id, source, name, language, status, runtime_status, preview_status, is_active, version,
  provider, provider_voice_id, target_model)
select gen_random_uuid(), %(user)s, 'custom_voice', 'bench', 'en', 'ready', 'pending', 'not_required', true, 9,
  'local', gen_random_uuid(), 'm'
from generate_series(1, %(count)s)
returning id

-- change --
-- a transition of each, through the triggers
update public.voice_clone_attempts set request_id = gen_random_uuid() where id = any(%(attempts)s)

-- notify --
-- the floor: as many notifications of the same size, in a commit that waits for the disk as well
select pg_notify('bench_listeners', n), pg_logical_emit_message(true, 'bench', '')
from unnest(%(attempts)s::text[]) n
