-- Metrics: what a scrape of Prometheus reads. Bounded: unfinished work, the last five minutes, and rows that are few.

-- Each metric has the same labels in each of its rows; no label is an id.
create function voice_clone.metric_samples() returns table (metric text, labels jsonb, value float8)
language sql stable security definer set search_path = ''
as $$
  with queues as materialized (select * from voice_clone.queue_metrics())
  select 'likeness_queue_messages', jsonb_build_object('queue', q.queue), q.queue_length::float8 from queues q
  union all
  select 'likeness_queue_oldest_seconds', jsonb_build_object('queue', q.queue), coalesce(q.oldest_message_seconds, 0) from queues q
  union all
  select 'likeness_queue_deferred', jsonb_build_object('queue', q.queue), q.deferred_length from queues q
  union all
  select 'likeness_queue_dead', jsonb_build_object('queue', q.queue), q.dead_length from queues q
  union all
  select 'likeness_unfinished_attempts', jsonb_build_object('status', s.status), count(a.status)
  from unnest('{awaiting_upload,queued,processing}'::text[]) s (status)
  left join (
    select x.status from voice_clone.enrolling_attempts n join public.voice_clone_attempts x on x.id = n.attempt_id) a using (status)
  group by s.status
  union all
  select 'likeness_transitions_recent', jsonb_build_object('event', n.name), count(*)
  from voice_clone.events e cross join lateral unnest(e.events) n (name)
  where e.recorded_at > now() - interval '5 minutes' group by n.name
  union all
  select 'likeness_overdue_attempts', '{}', count(*) from voice_clone.deadlines d where d.sweep_at < now() - interval '1 minute'
  union all
  select n.metric, '{}', n.value from voice_clone.mirror_lag() l
  cross join lateral (values
    ('likeness_mirrors_behind', l.behind::float8), ('likeness_mirror_lag_seconds', l.oldest_seconds)) n (metric, value)
  union all
  select 'likeness_job_slots', jsonb_build_object('state', s.state), s.count
  from (
    select 'all' as state, count(*) from voice_clone.job_slots
    union all select 'taken', count(j.job_id) from voice_clone.job_slots j
    union all select 'waiting', count(*) from voice_clone.waiting_jobs) s
  union all
  select 'likeness_provider_slots', jsonb_build_object('provider', s.provider, 'region', s.region, 'state', n.state),
    case n.state when 'all' then s.slots else voice_clone.slots_taken(s.provider, s.region, s.slots, s.accounts) end
  from voice_clone.slots s cross join (values ('all'), ('taken')) n (state) where s.slots is not null
  union all
  select 'likeness_consumers', '{}', c.alive from voice_clone.consumers_state() c
  union all
  select 'likeness_sweep_errors', '{}', count(*) from voice_clone.sweep_errors
  union all
  select 'likeness_open_erasures', '{}', count(*) from voice_clone.erasures x where x.sweep_at is not null
  union all
  select 'likeness_open_erasure_oldest_seconds', '{}', coalesce(extract(epoch from now() - min(x.requested_at)), 0)
  from voice_clone.erasures x where x.sweep_at is not null
  union all
  select 'likeness_object_removals', '{}', count(*) from voice_clone.object_removals
  union all
  select n.metric, '{}', n.value from voice_clone.consent_anchors_state() s
  cross join lateral (values
    ('likeness_consent_anchor_age_seconds', s.waiting_seconds), ('likeness_broken_consents', s.broken)) n (metric, value)
  where n.value is not null
  union all
  select 'likeness_takedowns', '{}', count(*) from voice_clone.takedowns t where t.lifted_at is null
  union all
  select 'likeness_voice_check_age_seconds', jsonb_build_object('provider', c.provider, 'region', c.region), max(c.age_seconds)
  from voice_clone.voice_checks_state() c group by c.provider, c.region
  union all
  select 'likeness_voice_checks_stopped', jsonb_build_object('provider', c.provider, 'region', c.region, 'code', c.error_code), count(*)
  from voice_clone.voice_checks_state() c where c.error_code is not null group by c.provider, c.region, c.error_code
  union all
  select 'likeness_silent_voices', jsonb_build_object('provider', c.provider, 'region', c.region), sum(c.silent)
  from voice_clone.voice_checks_state() c group by c.provider, c.region
$$;
grant execute on function voice_clone.metric_samples() to voice_clone_backend;
