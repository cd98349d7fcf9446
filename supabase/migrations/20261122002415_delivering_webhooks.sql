-- Delivering: a worker claims a webhook, sends what is due, and records what came of it. One worker at a time delivers to a
-- webhook. Of one attempt the events are sent in their order: the next when the one before was delivered or has failed.

-- The events that may be sent now, the oldest first, at most one of an attempt.
create function voice_clone.due_events(p_webhook uuid, p_limit int) returns setof bigint
language sql stable security definer set search_path = ''
as $$
  select d.event_id from public.webhook_deliveries d
  where d.webhook_id = p_webhook and d.status = 'pending' and d.due_at <= now() and not exists (
    select from public.webhook_deliveries e
    where e.webhook_id = p_webhook and e.attempt_id = d.attempt_id and e.status = 'pending' and e.event_id < d.event_id)
  order by d.event_id limit p_limit
$$;

-- Takes the lease where something may be sent. A message that finds another worker is not needed: that worker sends another
-- where something is left when it ends. Cap: how many webhooks of one owner are delivered to at once.
create function voice_clone.claim_webhook(p_webhook uuid, p_lease_owner text, p_user_cap int, p_limit int) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  w public.webhooks;
  v_events bigint[];
begin
  select * into w from public.webhooks x where x.id = p_webhook for no key update;
  if not found or w.status <> 'enabled' then
    return ('inactive', null, null)::voice_clone.claim;
  elsif w.lease_expires_at > now() then
    return ('busy', null, null)::voice_clone.claim;
  elsif w.not_before > now() then
    return ('not_due', null, null)::voice_clone.claim;
  end if;
  v_events := array(select e from voice_clone.due_events(p_webhook, p_limit) e);
  if v_events = '{}' then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  end if;
  -- One claim of an owner at a time, so that two cannot both take the last place.
  perform voice_clone.lock_webhooks_of(w.user_id, w.org_id);
  if (select count(*) from public.webhooks x
      where (x.user_id = w.user_id or x.org_id = w.org_id) and x.lease_expires_at > now()) >= p_user_cap then
    return ('user_busy', 1, null)::voice_clone.claim;
  end if;
  update public.webhooks x
  set lease_epoch = x.lease_epoch + 1, lease_owner = p_lease_owner, leased_at = now(),
      lease_expires_at = now() + voice_clone.timeout('webhook_lease')
  where x.id = p_webhook returning * into w;
  update public.webhook_deliveries d set sweep_at = w.lease_expires_at
  where d.webhook_id = p_webhook and d.event_id = any (v_events);
  return ('claimed', null, w.lease_epoch)::voice_clone.claim;
end
$$;

-- What there is to do, for the worker that has just claimed it. Volatile, so that it sees what the claim waited for.
create function voice_clone.claimed_webhook(p_webhook uuid, p_limit int)
returns table (webhook_id uuid, url text, secrets text[], deliveries jsonb)
language sql volatile security definer set search_path = '' rows 1
as $$
  select w.id, w.url,
    array(select s.secret from voice_clone.webhook_secrets s
      where s.webhook_id = w.id and (s.expires_at is null or s.expires_at > now()) order by s.created_at desc),
    (select jsonb_agg(jsonb_build_object(
        'event_id', d.event_id, 'attempt_id', d.attempt_id, 'reflection_id', d.reflection_id, 'employee_id', d.employee_id, 'voice_id', d.voice_id,
        'version', d.version, 'events', d.events, 'recorded_at', d.recorded_at) order by d.event_id)
      from voice_clone.due_events(w.id, p_limit) e join public.webhook_deliveries d on d.webhook_id = w.id and d.event_id = e)
  from public.webhooks w where w.id = p_webhook
$$;

-- The wait after this many failures: it doubles.
create function voice_clone.webhook_backoff(p_failures int) returns interval
language plpgsql stable set search_path = ''
as $$
begin
  return least(
    voice_clone.timeout('webhook_backoff') * 2 ^ least(p_failures - 1, 20), voice_clone.timeout('webhook_backoff_cap'));
end
$$;

-- Disabled, with what was waiting: its owner reads why, and may enable it and replay events.
create function voice_clone.disable_webhook(p_webhook uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.webhooks w
  set status = 'disabled', disabled_reason = p_reason, disabled_at = now(), not_before = null
  where w.id = p_webhook;
  update public.webhook_deliveries d set status = 'failed', error_code = coalesce(d.error_code, 'webhook_disabled')
  where d.webhook_id = p_webhook and d.status = 'pending';
end
$$;

-- What came of what was sent: of each event {event_id, outcome, response_status, code}. Outcomes: delivered; refused, an
-- answer that is about the event; failed, no answer or one that says that the server cannot take any; gone, it never will.
-- Without one that was delivered, failures put off the whole webhook. Returns what became of the webhook.
create function voice_clone.record_deliveries(
  p_webhook uuid, p_epoch int, p_results jsonb, p_retry_after_seconds float8, p_message_id bigint default null
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  w public.webhooks;
  v_outcomes text[] := array(select r ->> 'outcome' from jsonb_array_elements(p_results) r);
  v_delivered boolean := 'delivered' = any (v_outcomes);
  v_wait interval;
begin
  select * into w from public.webhooks x
  where x.id = p_webhook and x.lease_epoch = p_epoch and x.lease_owner is not null for no key update;
  if not found then
    raise exception 'the lease on webhook % at epoch % is lost', p_webhook, p_epoch using errcode = 'VC002';
  end if;
  perform voice_clone.acknowledge_messages('webhooks', array[p_message_id]) where p_message_id is not null;
  if not v_delivered and 'failed' = any (v_outcomes) then
    v_wait := least(greatest(voice_clone.webhook_backoff(w.failure_count + 1), make_interval(secs => p_retry_after_seconds)),
      voice_clone.timeout('webhook_backoff_cap'));
  end if;
  update public.webhook_deliveries d
  set try_count = d.try_count + 1, tried_at = now(), response_status = r.response_status, error_code = r.code,
      status = case when r.outcome = 'delivered' then 'delivered'
        when d.queued_at + voice_clone.timeout('webhook') <= now() then 'failed' else 'pending' end,
      due_at = now() + voice_clone.webhook_backoff(d.try_count + 1),
      sweep_at = now() + greatest(voice_clone.webhook_backoff(d.try_count + 1), v_wait)
  from jsonb_to_recordset(p_results) r (event_id bigint, outcome text, response_status int, code text)
  where d.webhook_id = p_webhook and d.event_id = r.event_id and d.status = 'pending';
  update public.webhooks x
  set lease_owner = null, leased_at = null, lease_expires_at = null, not_before = now() + v_wait,
      failure_count = case when v_delivered then 0 else x.failure_count + 1 end,
      failing_since = case when not v_delivered then coalesce(x.failing_since, now()) end
  where x.id = p_webhook;
  if not v_delivered and ('gone' = any (v_outcomes) or w.failing_since + voice_clone.timeout('webhook') <= now()) then
    perform voice_clone.disable_webhook(p_webhook, case when 'gone' = any (v_outcomes) then 'gone' else 'failing' end);
    return 'disabled';
  end if;
  if v_delivered and w.failure_count > 0 then -- its server is back: what waits for its own backoff need not
    update public.webhook_deliveries d set due_at = now()
    where d.webhook_id = p_webhook and d.status = 'pending' and d.due_at > now();
  end if;
  return voice_clone.send_due_webhook(p_webhook, v_wait);
end
$$;

-- The message for what is left when a worker ends: at once, or after a short backoff. A longer one is left to the sweep.
create function voice_clone.send_due_webhook(p_webhook uuid, p_wait interval) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_seconds int := ceil(extract(epoch from p_wait));
begin
  if v_seconds is null and exists (select from voice_clone.due_events(p_webhook, 1)) then
    perform voice_clone.send_webhook(p_webhook);
  elsif v_seconds <= voice_clone.queue_delay_seconds() then
    perform voice_clone.send_webhook(p_webhook, v_seconds);
  end if;
  return case when v_seconds is null then 'recorded' else 'postponed' end;
end
$$;

-- One message for each webhook with a delivery that is due to the sweep; at most p_limit deliveries. The wait for the next
-- doubles. What waits for a webhook that is disabled has failed. Removes deliveries whose retention is over.
create function voice_clone.sweep_webhooks(p_limit int) returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  d record;
  v_sent uuid[] := '{}';
begin
  for d in
    select x.*, w.status as webhook_status, greatest(w.not_before, w.lease_expires_at) as webhook_due_at
    from public.webhook_deliveries x join public.webhooks w on w.id = x.webhook_id
    where x.status = 'pending' and x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.webhook_id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update of x skip locked
  loop
    begin
      if d.webhook_status = 'disabled' then
        update public.webhook_deliveries x set status = 'failed', error_code = coalesce(x.error_code, 'webhook_disabled')
        where x.webhook_id = d.webhook_id and x.event_id = d.event_id;
        return next 'deliveries_failed';
        continue;
      end if;
      update public.webhook_deliveries x
      set sweep_at = case when d.webhook_due_at > now() then d.webhook_due_at else now() + least(
        greatest(voice_clone.timeout('lost_message'), now() - greatest(d.queued_at, d.tried_at)),
        voice_clone.timeout('lost_message_cap')) end
      where x.webhook_id = d.webhook_id and x.event_id = d.event_id;
      if not d.webhook_id = any (v_sent) and coalesce(d.webhook_due_at <= now(), true) then
        perform voice_clone.send_webhook(d.webhook_id);
        v_sent := v_sent || d.webhook_id;
        return next 'webhooks_sent';
      end if;
    exception when others then
      perform voice_clone.postpone_row('webhook', d.webhook_id, sqlerrm, sqlstate);
    end;
  end loop;
  return query
    with old as (
      select x.webhook_id, x.event_id from public.webhook_deliveries x
      where x.status <> 'pending' and x.finished_at <= now() - voice_clone.timeout('webhook_history')
      order by x.finished_at limit p_limit for update skip locked
    )
    delete from public.webhook_deliveries x using old where (x.webhook_id, x.event_id) = (old.webhook_id, old.event_id)
    returning 'deliveries_removed';
end
$$;

grant execute on function
  voice_clone.claim_webhook(uuid, text, int, int),
  voice_clone.claimed_webhook(uuid, int),
  voice_clone.record_deliveries(uuid, int, jsonb, float8, bigint)
to voice_clone_backend;
