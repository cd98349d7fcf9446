-- users --
-- users of this round, identified by its tag
insert into auth.users (id, email)
select gen_random_uuid(), %(tag)s || '-' || n || '@bench.local' from generate_series(1, %(count)s) n
returning id

-- launchable --
-- one reflection each, whose active attempt is ready, synced and heard; past triggers, as a restored dump would be
with r as (
  insert into public.reflections (user_id, name) select u, 'bench' from unnest(%(users)s::uuid[]) u
  returning id, user_id
)
insert into public.voice_clone_attempts (
  id, user_id, reflection_id, source, name, language, status, runtime_status, preview_status, is_active, version,
  provider, provider_voice_id, target_model, activated_at)
select gen_random_uuid(), r.user_id, r.id, 'custom_voice', 'bench', 'en', 'ready', 'synced', 'completed', true, 9,
  'local', gen_random_uuid(), 'm', now()
from r
returning reflection_id

-- plain_update --
-- the floor of a mirror: the same rows, the same size, without checks
update public.reflections r set voice = r.voice || a.state
from (select reflection_id, to_jsonb(a) - 'user_id' as state from public.voice_clone_attempts a where reflection_id = any(%(reflections)s)) a
where r.id = a.reflection_id

-- unmirrored --
-- as they were before anything was mirrored
update public.reflections set voice = '{}' where id = any(%(reflections)s)

-- mirror_messages --
-- one for each reflection
select voice_clone.send_messages('voice_mirror',
  (select array_agg(voice_clone.queue_message('voice_mirror', r, 1, null)) from unnest(%(reflections)s::uuid[]) r), 0)

-- consents --
-- one each
select c.id from unnest(%(users)s::uuid[]) u
cross join lateral voice_clone.sign_consent(u, 'voice_clone', 'en', 'self', null, 1) c

-- reflections --
-- one each, without a voice
insert into public.reflections (user_id, name) select u, 'bench' from unnest(%(users)s::uuid[]) u returning id

-- queued --
-- a queued attempt each, through the transitions; all share one prepared object
with wanted as materialized (
  select r.id, r.user_id, c.id as consent, gen_random_uuid() as attempt
  from public.reflections r join public.voice_consents c on c.user_id = r.user_id
  where r.id = any(%(reflections)s)
), opened as materialized (
  select w.user_id, w.attempt, o.sample_id
  from wanted w
  cross join lateral voice_clone.open_attempt(
    w.attempt, w.user_id, w.consent, w.id, 'elevenlabs', '', w.user_id || '/' || w.attempt || '/sample.wav',
    'audio/wav', 1000, false) o
), prepared as materialized (
  select o.user_id, o.attempt, voice_clone.complete_sample(
    o.sample_id, c.lease_epoch, 'audio/wav', 1000, '{}', %(path)s, %(bytes)s) as done
  from opened o cross join lateral voice_clone.claim_upload(o.attempt, o.user_id, 'bench', 'en') c
)
select q.id from prepared p
cross join lateral voice_clone.queue_attempt(p.attempt, p.user_id, 'bench', 'en', null, 0) q

-- launched --
-- how many of these attempts are launchable and mirrored
select count(*) from public.voice_clone_attempts a join public.reflections r on r.id = a.reflection_id
where a.id = any(%(attempts)s) and a.status = 'ready' and a.runtime_status = 'synced'
  and (r.voice ->> 'version')::bigint = a.version

-- fill_attempts --
-- old attempts of old reflections, a tenth of them active and awaited in the index of the sweep; past triggers, in one go
with r as (
  insert into public.reflections (user_id, name)
  select (%(users)s::uuid[])[1 + n %% cardinality(%(users)s::uuid[])], 'old' from generate_series(1, %(count)s / 10) n
  returning id, user_id
), filled as (
  insert into public.voice_clone_attempts (
    id, user_id, reflection_id, source, name, language, status, runtime_status, preview_status, is_active, version,
    provider, provider_voice_id, target_model, activated_at, cancel_reason)
  select gen_random_uuid(), r.user_id, r.id, 'custom_voice', 'old', 'en',
    case when n = 10 then 'ready' else 'cancelled' end, 'synced', 'completed', n = 10, n,
    'local', gen_random_uuid(), 'm', now(), case when n < 10 then 'superseded' end
  from r, generate_series(1, 10) n
  returning id, is_active
)
insert into voice_clone.deadlines (attempt_id, sweep_at)
select f.id, now() + interval '1 day' from filled f where f.is_active

-- fill_delayed --
-- messages that are invisible for a day, in each queue that is measured
select cardinality(voice_clone.send_messages(queue,
  (select array_agg(voice_clone.queue_message(queue, gen_random_uuid(), n, null)) from generate_series(1, %(count)s) n), 86400))
from unnest(array['voice_clone_process', 'voice_runtime_sync', 'voice_preview', 'voice_mirror']) queue

-- lost --
-- their messages were lost a while ago: due for the sweep, past triggers
update voice_clone.deadlines set sweep_at = now() where attempt_id = any(%(attempts)s)

-- unswept --
-- the floor of a sweep: its bookkeeping alone
update voice_clone.deadlines set sweep_at = now() + interval '5 min' where attempt_id = any(%(attempts)s)

-- swept --
-- all that is due, in two transactions: the largest is of 500
select sum(count) from voice_clone.sweep(500) where what = 'sent'

-- withdrawn --
-- cancelled past triggers, so that no work is left for them
with cancelled as (
  update public.voice_clone_attempts set status = 'cancelled', is_active = false where id = any(%(attempts)s) returning id
)
delete from voice_clone.deadlines d using cancelled where d.attempt_id = cancelled.id
