-- attempts --
-- ready custom voices of reflections, the ids of each connection in a range of their own; past triggers
with wanted as (
  select client * 1000 + n as number, gen_random_uuid() as reflection
  from generate_series(0, %(connections)s - 1) client, generate_series(1, %(each)s) n
), reflections as (
  insert into public.reflections (id, user_id, name) select w.reflection, %(user)s, 'bench' from wanted w
)
insert into public.voice_clone_attempts (
  id, user_id, reflection_id, source, name, language, status, runtime_status, preview_status, is_active, version,
  provider, provider_voice_id, target_model, activated_at)
select ('00000000-0000-4000-8000-' || lpad(w.number::text, 12, '0'))::uuid, %(user)s, w.reflection, 'custom_voice',
  'bench', 'en', 'ready', 'synced', 'completed', true, 9, 'local', gen_random_uuid(), 'm', now()
from wanted w

-- transition --
-- pgbench sets the variables; each connection changes its own attempts, so that none waits for a row
update public.voice_clone_attempts set request_id = gen_random_uuid()
where id = ('00000000-0000-4000-8000-' || lpad((:client_id * 1000 + :n)::text, 12, '0'))::uuid

-- notifying --
-- definitions of the functions that send notifications
select pg_get_functiondef(p.oid) from pg_proc p
where p.pronamespace = 'voice_clone'::regnamespace and p.prosrc like '%%pg_notify(%%'
