-- Attempts for operators: a list, and all that is known of one. What an attempt waits for has a name, which the command
-- `likeness attempts` explains. No name of a person, no path and nothing that was said is among the answers.

create index voice_clone_attempts_created_at_idx on public.voice_clone_attempts (created_at desc);

-- Why an attempt that waits for a message does not move, and until when that is as it should be.
create function voice_clone.diagnose_wait(a public.voice_clone_attempts, p_queue text)
returns table (finding text, until timestamptz)
language plpgsql stable security definer set search_path = '' rows 1
as $$
declare
  v_unread text[] := (select s.unread_queues from voice_clone.consumers_state() s);
  v_settles timestamptz;
begin
  if exists (select from voice_clone.dead_letters d
    where d.message ->> 'id' = a.id::text and d.queue = p_queue and d.dead_at >= a.updated_at)
  then
    return query select 'dead_letter', null::timestamptz;
    return;
  elsif voice_clone.is_waiting_job(a.id) then
    return query select 'waits_for_slot', null::timestamptz;
    return;
  end if;
  select e.settles_at into v_settles from voice_clone.enrollments e
  where e.attempt_id = a.id and e.status in ('intended', 'unknown');
  if v_settles > now() then
    return query select 'outcome_unknown', v_settles;
  elsif a.not_before > now() then
    return query select case a.status when 'verifying' then 'waits_for_verification' else 'waits_to_retry' end, a.not_before;
  elsif p_queue = any (v_unread) and a.updated_at < now() - interval '1 minute' then
    return query select 'no_consumer', null::timestamptz;
  else
    return query select 'queued', a.updated_at + voice_clone.timeout('lost_message');
  end if;
end
$$;

-- What an attempt waits for, as one word; `until` is when this ends by itself, or should have.
create function voice_clone.diagnose(a public.voice_clone_attempts)
returns table (finding text, until timestamptz)
language plpgsql stable security definer set search_path = '' rows 1
as $$
declare
  d voice_clone.deadlines;
  v_queue text := voice_clone.awaited_queue(a);
begin
  select * into d from voice_clone.deadlines x where x.attempt_id = a.id;
  if exists (select from voice_clone.sweep_errors s where s.row_id = a.id) then
    return query select 'sweep_error', s.retry_at from voice_clone.sweep_errors s where s.row_id = a.id;
  elsif d.sweep_at < now() - interval '1 minute' then
    return query select 'sweep_overdue', d.sweep_at;
  elsif d.lease_expires_at is not null then
    return query select case when d.lease_expires_at > now() then 'in_work' else 'lease_ended' end, d.lease_expires_at;
  elsif v_queue is not null then
    return query select * from voice_clone.diagnose_wait(a, v_queue);
  elsif a.status = 'awaiting_upload' then
    return query select 'awaits_upload', a.created_at + voice_clone.timeout('upload');
  elsif a.status in ('cancelled', 'expired', 'failed') then
    return query select a.status, null::timestamptz;
  elsif not a.is_active then
    return query select 'not_active', null::timestamptz;
  elsif 'failed' in (a.runtime_status, a.preview_status) then
    return query select case a.runtime_status when 'failed' then 'runtime_failed' else 'preview_failed' end, null::timestamptz;
  elsif a.preview_status = 'rendered' then
    return query select 'awaits_listening', null::timestamptz;
  else
    return query select 'nothing_awaited', null::timestamptz;
  end if;
end
$$;

-- For operators, the newest first: since p_since, and before the attempt p_before.
create function operations.attempts(
  p_status text default null, p_provider text default null, p_error text default null, p_owner uuid default null,
  p_reflection uuid default null, p_employee uuid default null, p_since timestamptz default null, p_before uuid default null,
  p_limit int default 50)
returns table (
  id uuid, created_at timestamptz, updated_at timestamptz, provider text, region text, status text, runtime_status text,
  preview_status text, is_active boolean, error_code text, finding text, until timestamptz)
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_before timestamptz := (select a.created_at from public.voice_clone_attempts a where a.id = p_before);
begin
  return query
    select a.id, a.created_at, a.updated_at, a.provider, a.region, a.status, a.runtime_status, a.preview_status, a.is_active,
      a.error_code, d.finding, d.until
    from public.voice_clone_attempts a cross join lateral voice_clone.diagnose(a) d
    where (p_since is null or a.created_at >= p_since)
      and (v_before is null or (a.created_at, a.id) < (v_before, p_before))
      and (p_status is null or a.status = p_status) and (p_provider is null or a.provider = p_provider)
      and (p_error is null or a.error_code = p_error) and (p_owner is null or p_owner in (a.user_id, a.org_id))
      and (p_reflection is null or a.reflection_id = p_reflection) and (p_employee is null or a.employee_id = p_employee)
    order by a.created_at desc, a.id desc limit least(greatest(p_limit, 1), 1000);
end
$$;

-- Those that do not move by themselves, the longest overdue first. Each of them has a deadline, so that no others are read.
create function operations.stuck_attempts(p_limit int default 50)
returns table (
  id uuid, created_at timestamptz, updated_at timestamptz, provider text, region text, status text, runtime_status text,
  preview_status text, is_active boolean, error_code text, finding text, until timestamptz)
language sql stable security definer set search_path = ''
as $$
  select a.id, a.created_at, a.updated_at, a.provider, a.region, a.status, a.runtime_status, a.preview_status, a.is_active,
    a.error_code, f.finding, f.until
  from voice_clone.deadlines d
  join public.voice_clone_attempts a on a.id = d.attempt_id
  cross join lateral voice_clone.diagnose(a) f
  where f.finding in ('dead_letter', 'no_consumer', 'lease_ended', 'sweep_overdue', 'sweep_error')
    or f.finding = 'queued' and f.until < now()
  order by d.sweep_at limit least(greatest(p_limit, 1), 1000)
$$;

-- All that is known of one attempt, as one object; null where there is none. The newest 500 events, the oldest first.
create function operations.attempt(p_attempt uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'attempt', to_jsonb(a) - '{name,preview_path}'::text[],
    'finding', (select to_jsonb(f) from voice_clone.diagnose(a) f),
    'deadline', (select to_jsonb(d) - 'attempt_id' from voice_clone.deadlines d where d.attempt_id = a.id),
    'sample', (
      select jsonb_build_object('id', s.id, 'status', s.status, 'error_code', s.error_code)
      from public.voice_samples s where s.id = a.sample_id),
    'voice', (
      select jsonb_build_object('id', v.id, 'created_at', v.created_at, 'deleted_at', v.deleted_at)
      from public.voices v where v.attempt_id = a.id),
    'enrollments', (
      select coalesce(jsonb_agg(to_jsonb(e) - 'attempt_id' order by e.created_at), '[]')
      from voice_clone.enrollments e where e.attempt_id = a.id),
    'provider_errors', (
      select coalesce(jsonb_agg(to_jsonb(x) - '{id,attempt_id}'::text[] order by x.id), '[]')
      from voice_clone.provider_errors x where x.attempt_id = a.id),
    'events', (
      select coalesce(jsonb_agg(jsonb_build_object('recorded_at', e.recorded_at, 'version', e.version, 'events', e.events,
        'changes', e.changes - '{name,preview_path}'::text[]) order by e.id), '[]')
      from (select * from voice_clone.events x where x.attempt_id = a.id order by x.id desc limit 500) e),
    'dead_letters', (
      select coalesce(jsonb_agg(to_jsonb(d) - 'message' order by d.id), '[]')
      from voice_clone.dead_letters d where d.message ->> 'id' = a.id::text),
    'sweep_error', (select to_jsonb(s) - 'row_id' from voice_clone.sweep_errors s where s.row_id = a.id))
  from public.voice_clone_attempts a where a.id = p_attempt
$$;

-- For each provider and region: how many voices may be kept, how many are, and of these how many are orphans.
create function operations.slots()
returns table (provider text, region text, slots int, taken int, orphans int, deleted int, updated_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  with places as (
    select s.provider, s.region from voice_clone.slots s
    union select p.provider, p.region from voice_clone.places() p
  )
  select p.provider, p.region, s.slots, voice_clone.slots_taken(p.provider, p.region, 1000000, s.accounts),
    (select count(*)::int from voice_clone.enrollments e
      where e.provider = p.provider and e.region = p.region and e.status in ('orphaned', 'removing')),
    voice_clone.deleted_voices(p.provider, p.region, 1000000, s.accounts), s.updated_at
  from places p left join voice_clone.slots s using (provider, region)
  order by 1, 2
$$;

-- Since p_since: how many attempts ended how and how long they took, and what is at work now.
create function operations.stats(p_since timestamptz default now() - interval '1 day') returns jsonb
language sql stable security definer set search_path = ''
as $$
  with recent as materialized (select * from public.voice_clone_attempts a where a.created_at >= p_since)
  select jsonb_build_object(
    'since', p_since,
    'attempts', (select coalesce(jsonb_object_agg(s.status, s.count), '{}')
      from (select r.status, count(*) from recent r group by 1) s),
    'errors', (select coalesce(jsonb_agg(to_jsonb(e) order by e.count desc), '[]') from (
      select r.provider, r.error_code, count(*) from recent r where r.error_code is not null group by 1, 2) e),
    'seconds_to_ready', (select coalesce(jsonb_object_agg(t.provider, jsonb_build_object(
        'count', t.count, 'p50', round(t.p[1]::numeric, 3), 'p99', round(t.p[2]::numeric, 3))), '{}')
      from (select r.provider, count(*),
          percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from r.ready_at - r.queued_at)) p
        from recent r where r.ready_at > r.queued_at group by 1) t),
    'queues', (select coalesce(jsonb_agg(to_jsonb(q) order by q.queue), '[]') from voice_clone.queue_metrics() q),
    'job_slots', (select jsonb_build_object('taken', count(s.job_id), 'all', count(*),
      'waiting', (select count(*) from voice_clone.waiting_jobs)) from voice_clone.job_slots s),
    'sweep', (select jsonb_build_object('overdue', count(*), 'oldest', min(d.sweep_at))
      from voice_clone.deadlines d where d.sweep_at < now() - interval '1 minute'),
    'consumers', (select to_jsonb(c) from voice_clone.consumers_state() c))
$$;

revoke all on function
  operations.attempts(text, text, text, uuid, uuid, uuid, timestamptz, uuid, int), operations.stuck_attempts(int),
  operations.attempt(uuid), operations.slots(), operations.stats(timestamptz)
from public, anon, authenticated;
grant execute on function
  operations.attempts(text, text, text, uuid, uuid, uuid, timestamptz, uuid, int), operations.stuck_attempts(int),
  operations.attempt(uuid), operations.slots(), operations.stats(timestamptz)
to service_role, voice_clone_backend;
