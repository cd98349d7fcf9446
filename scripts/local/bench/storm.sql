-- queued --
-- a queued attempt each, the providers in turn, every fourth with a preview; all share one prepared object. None for a
-- reflection that is deleted, or whose owner has revoked
with wanted as materialized (
  select r.id, r.user_id, gen_random_uuid() as attempt, row_number() over (order by r.id) as n, c.id as consent
  from public.reflections r join public.voice_consents c on c.user_id = r.user_id
  where r.id = any(%(reflections)s) and voice_clone.is_consent_valid(c.id, r.user_id, r.id)
), opened as materialized (
  select w.user_id, w.attempt, o.sample_id
  from wanted w
  cross join lateral voice_clone.open_attempt(
    w.attempt, w.user_id, w.consent, w.id, case w.n %% 2 when 0 then 'elevenlabs' else 'qwen' end,
    case w.n %% 2 when 0 then '' else %(region)s end, w.user_id || '/' || w.attempt || '/sample.wav',
    'audio/wav', 1000, w.n %% 4 = 0) o
), prepared as materialized (
  select o.user_id, o.attempt, voice_clone.complete_sample(
    o.sample_id, c.lease_epoch, 'audio/wav', 1000, '{}', %(path)s, %(bytes)s) as done
  from opened o cross join lateral voice_clone.claim_upload(o.attempt, o.user_id, 'storm', 'en') c
)
select array[q.id, q.reflection_id] from prepared p
cross join lateral voice_clone.queue_attempt(p.attempt, p.user_id, 'storm', 'en', null, 0) q

-- spoken --
-- a speech job for the sample of an attempt that has a voice or is about to; at the other provider, the job makes another
with chosen as materialized (
  select a.user_id, a.sample_id, case when %(elsewhere)s <> (a.provider = 'qwen') then 'qwen' else 'elevenlabs' end as provider
  from public.voice_clone_attempts a join public.voice_samples s on s.id = a.sample_id
  where a.user_id is not null and a.status in ('queued', 'processing', 'verifying', 'ready') and s.removed_at is null
    and voice_clone.is_consent_valid(s.consent_id, a.user_id, null)
  order by random() limit 1
)
select j.id from chosen c cross join lateral voice_clone.request_speech(
  gen_random_uuid(), c.user_id, c.sample_id, c.provider, case c.provider when 'qwen' then %(region)s else '' end,
  'What a storm.', 'storm') j

-- time --
-- one of the lifecycle's times
update voice_clone.timeouts set value = make_interval(secs => %(seconds)s) where name = %(name)s

-- unsettled --
-- what still moves or should: attempts, enrollments, speech jobs, retentions, folders of Storage, messages, mirrors
select what, count from (
  select 'attempts' as what, count(*) from voice_clone.deadlines
  union all select 'samples', count(*) from public.voice_samples s where s.status in ('pending', 'processing')
  union all select 'enrollments', count(*) from voice_clone.enrollments e 
    where e.status in ('intended', 'unknown', 'removing') or (e.status = 'orphaned' and e.removal_due_at is not null)
  union all select 'speech jobs', count(*) from public.speech_jobs j where j.status in ('queued', 'processing')
  union all select 'retentions', count(*) from public.voices v
    where v.deleted_at <= now() - voice_clone.timeout('deleted_voice') and v.removal_requested_at is null
  union all select 'folders', count(*) from voice_clone.object_removals r where r.sweep_at < r.final_at
  union all select 'messages', sum(m.queue_length + m.deferred_length) from voice_clone.queue_metrics() m
  union all select 'mirrors', count(*) from public.reflections r
    where coalesce((r.voice ->> 'version')::bigint, 0) < (
      select max(a.version) from public.voice_clone_attempts a where a.reflection_id = r.id and a.activated_at is not null)
) left_over where count > 0

-- throughput --
-- voices a second, from the first attempt until the last voice; by the clock of Postgres, so that polling distorts nothing
select count(*) / extract(epoch from max(a.ready_at) - min(a.created_at))::float8
from public.voice_clone_attempts a where a.id = any(%(attempts)s) and a.ready_at is not null

-- added --
-- a kept sample each, of users with a valid consent; its file is stored next
select s.id, s.path from (
  select u.id as user_id, c.id as consent, gen_random_uuid() as sample
  from auth.users u join public.voice_consents c on c.user_id = u.id
  where voice_clone.is_consent_valid(c.id, u.id, null) order by random() limit %(count)s
) wanted
cross join lateral voice_clone.add_sample(
  wanted.sample, wanted.user_id, wanted.consent, null, true, 'storm', 'en', null,
  wanted.user_id || '/' || wanted.sample || '/sample.wav', 'audio/wav', %(bytes)s) s

-- received --
-- their files are stored; a sample that was removed meanwhile is left out
select voice_clone.receive_sample(s.id, s.user_id) from public.voice_samples s
where s.id = any(%(samples)s) and s.status = 'awaiting_upload'

-- sample_ends --
-- what became of the kept samples, and whether each may be there: its consent is in force
select s.id, s.status, s.error_code, s.process_count <= s.process_budget as is_in_budget,
  s.user_id is not null and voice_clone.is_consent_valid(s.consent_id, s.user_id, null) as is_covered,
  (select count(*) from storage.objects o
   where o.bucket_id = 'voice-samples' and starts_with(o.name, s.user_id || '/' || s.id || '/')) as objects
from public.voice_samples s where s.id = any(%(samples)s)

-- taken_down --
-- a voice or an attempt that makes one, with all that was made of its sample
with chosen as materialized (
  select a.id from public.voice_clone_attempts a
  where a.status in ('queued', 'processing', 'verifying', 'ready') and a.taken_down_at is null order by random() limit 1
)
select t.attempt_id from chosen cross join lateral operations.take_down(chosen.id, 'A notice', true) t

-- lifted --
-- every notice; what waited goes on
select l.attempt_id from voice_clone.takedowns t
cross join lateral operations.lift_takedown(t.subject_id, 'Withdrawn', true) l where t.lifted_at is null
