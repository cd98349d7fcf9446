-- Overview: what the operator's page shows. Bounded: work that is not finished, rows that are few, and slices of the event log.

-- Reflections and employees whose mirror shows an older version, and how long the oldest of these changes is ago. An attempt keeps its
-- deadline until its mirror was compared, so no other rows are read; 1,000 of them at most.
create function voice_clone.mirror_lag() returns table (behind int, oldest_seconds float8)
language sql stable security definer set search_path = ''
as $$
  with changed as (
    select a.reflection_id, a.employee_id, a.version, a.updated_at
    from (select d.attempt_id from voice_clone.deadlines d order by d.sweep_at limit 1000) due
    join public.voice_clone_attempts a on a.id = due.attempt_id
    where a.activated_at is not null
  )
  select count(*)::int, coalesce(extract(epoch from now() - min(c.updated_at)), 0)::float8
  from changed c
  left join public.reflections r on r.id = c.reflection_id
  left join public.employees e on e.id = c.employee_id
  where voice_clone.shown_version(coalesce(r.voice, e.voice)) < c.version
$$;

-- What is at work now, and what stands still. The limits of one row make the planner look each attempt up, however few there are in all.
create function operations.overview() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'queues', (select coalesce(jsonb_agg(to_jsonb(q) order by q.queue), '[]') from voice_clone.queue_metrics() q),
    'unfinished', (
      select jsonb_object_agg(s.status, jsonb_build_object('attempts', s.attempts, 'for_employees', s.for_employees))
      from (
        select w.status, count(a.status) as attempts, count(a.employee_id) as for_employees
        from unnest('{awaiting_upload,queued,processing}'::text[]) w (status)
        left join (
          select x.status, x.employee_id from voice_clone.enrolling_attempts n
          cross join lateral (select * from public.voice_clone_attempts y where y.id = n.attempt_id limit 1) x
        ) a using (status)
        group by w.status) s),
    'job_slots', (
      select jsonb_build_object('taken', count(s.job_id), 'all', count(*), 'waiting', (select count(*) from voice_clone.waiting_jobs))
      from voice_clone.job_slots s),
    'consumers', (select to_jsonb(c) from voice_clone.consumers_state() c),
    'sweep', (
      select jsonb_build_object('overdue', count(*), 'oldest', min(d.sweep_at), 'errors', (select count(*) from voice_clone.sweep_errors))
      from voice_clone.deadlines d where d.sweep_at < now() - interval '1 minute'),
    'mirror', (select to_jsonb(m) from voice_clone.mirror_lag() m),
    'takedowns', (
      select jsonb_build_object('open', count(*), 'attempts', coalesce(sum(cardinality(t.attempts)), 0), 'oldest', min(t.placed_at))
      from voice_clone.takedowns t where t.lifted_at is null),
    'erasures', (
      select jsonb_build_object('open', count(*), 'oldest_seconds', coalesce(extract(epoch from now() - min(x.requested_at)), 0)::float8)
      from voice_clone.erasures x where x.sweep_at is not null),
    'consents', (select to_jsonb(c) from voice_clone.consent_anchors_state() c),
    'voice_checks', (select coalesce(jsonb_agg(to_jsonb(c)), '[]') from voice_clone.voice_checks_state() c),
    'slots', (select coalesce(jsonb_agg(to_jsonb(s) order by s.provider, s.region), '[]') from operations.slots() s),
    'stuck', (select coalesce(jsonb_agg(to_jsonb(s)), '[]') from operations.stuck_attempts(50) s),
    'dead_letters', (
      select coalesce(jsonb_agg(to_jsonb(d) - 'message' order by d.id desc), '[]') from operations.dead_letters(p_limit => 100) d))
$$;

-- How many attempts reached which status, by intervals of ten minutes of a part of the event log: a day at most. The provider is the
-- attempt's present one. scale: of the time from queued to ready, in quarters of a power of two of seconds. The planner does not know how
-- short the part is; so the limit makes it look each attempt up, instead of reading all of them.
create function operations.attempt_series(p_from timestamptz, p_to timestamptz)
returns table (since timestamptz, provider text, status text, error_code text, scale int, count int)
language sql stable security definer set search_path = ''
as $$
  with part as materialized (
    select * from voice_clone.events x
    where x.recorded_at >= greatest(p_from, p_to - interval '1 day') and x.recorded_at < p_to and x.changes ? 'status'
  )
  select date_bin('10 minutes', e.recorded_at, 'epoch'), a.provider, e.changes ->> 'status',
    case e.changes ->> 'status' when 'failed' then e.changes ->> 'error_code' end,
    case when e.events && '{enrolled,verified}' and e.recorded_at > a.queued_at
      then ceil(4 * log(2, greatest(extract(epoch from e.recorded_at - a.queued_at), 0.001)))::int end,
    count(*)::int
  from part e cross join lateral (select * from public.voice_clone_attempts x where x.id = e.attempt_id limit 1) a
  group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
$$;

-- The attempts that failed since p_since and are still their owner's active ones, the newest first.
create function operations.failed_attempts(p_since timestamptz, p_limit int default 50)
returns table (
  id uuid, failed_at timestamptz, provider text, region text, status text, runtime_status text, preview_status text, error_code text)
language sql stable security definer set search_path = ''
as $$
  with part as materialized (
    select * from voice_clone.events x
    where x.recorded_at >= greatest(p_since, now() - interval '1 day')
      and x.events && '{failed,voice_lost,runtime_failed,preview_failed}'
  )
  select a.id, max(e.recorded_at), a.provider, a.region, a.status, a.runtime_status, a.preview_status, a.error_code
  from part e cross join lateral (select * from public.voice_clone_attempts x where x.id = e.attempt_id limit 1) a
  where a.is_active and voice_clone.has_failed(a)
  group by a.id, a.provider, a.region, a.status, a.runtime_status, a.preview_status, a.error_code order by 2 desc limit least(greatest(p_limit, 1), 1000)
$$;

-- Retries a failed attempt for its user, within the user's budget: VC007 where nothing has failed or the budget is used.
create function operations.retry_attempt(p_attempt uuid)
returns table (id uuid, status text, runtime_status text, preview_status text)
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select * into a from public.voice_clone_attempts x where x.id = p_attempt;
  perform from public.reflections r where r.id = a.reflection_id for no key update;
  perform from public.employees e where e.id = a.employee_id for no key update;
  select * into a from public.voice_clone_attempts x where x.id = p_attempt for no key update;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004', detail = '{"field": "attempt_id"}';
  elsif not a.is_active then
    raise exception 'another attempt is active, or none'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('nothing_to_retry', a);
  end if;
  return query select x.id, x.status, x.runtime_status, x.preview_status from voice_clone.retry_failed(a) x;
end
$$;

revoke all on function
  operations.overview(), operations.attempt_series(timestamptz, timestamptz), operations.failed_attempts(timestamptz, int),
  operations.retry_attempt(uuid)
from public, anon, authenticated;
grant execute on function
  operations.overview(), operations.attempt_series(timestamptz, timestamptz), operations.failed_attempts(timestamptz, int),
  operations.retry_attempt(uuid)
to service_role, voice_clone_backend;
