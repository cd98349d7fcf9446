-- Messages: how a queue's messages are sent, read, acknowledged, and postponed, and how many there are.
-- An acknowledged message is deleted: its effect is in the event log, and an archive would only grow.

-- Ids, never state: the handler reads the row. The event is the queue's name in upper case. `p_reflection` is the
-- reflection of the attempt that the message is about; the key is absent where there is none. `traceparent` is the trace in which it is sent,
-- where there is one: it decides nothing. When it was sent stands beside it in the queue; read_messages adds it, as `enqueued_at`, so that a
-- message that is sent again keeps it.
create function voice_clone.queue_message(p_queue text, p_id uuid, p_version bigint, p_reflection uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
    'event', upper(p_queue), 'id', p_id, 'version', p_version, 'reflection_id', p_reflection,
    'traceparent', nullif(current_setting('voice_clone.traceparent', true), '')));
end
$$;

-- NOTIFY takes a lock of the whole cluster until its commit is on disk, so transactions that notify commit one by one.
-- A session that sets voice_clone.notify_after_commit gets its notifications as notices and sends them after the commit.
-- For any other session they are sent with it.
create function voice_clone.notify(p_channel text, p_payload text) returns void
language plpgsql set search_path = ''
as $$
begin
  if current_setting('voice_clone.notify_after_commit', true) = 'on' then
    raise notice using errcode = 'VCN01', message = p_payload, detail = p_channel;
  else
    perform pg_notify(p_channel, p_payload);
  end if;
end
$$;

-- What such a session was told. Nothing is lost with this commit but a wake-up, so it does not wait for the disk.
create function voice_clone.send_notifications(p_channels text[], p_payloads text[]) returns void
language plpgsql set search_path = ''
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  perform pg_notify(n.channel, n.payload) from unnest(p_channels, p_payloads) n (channel, payload);
end
$$;

-- Returns the ids of the messages that are in the queue now: an empty array where they were deferred. The notification
-- names the queue, so that a message wakes the consumers of one queue only.
create function voice_clone.send_messages(p_queue text, p_messages jsonb[], p_delay_seconds int)
returns bigint[]
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids bigint[] := '{}';
begin
  if cardinality(p_messages) = 0 then
    return v_ids;
  end if;
  perform voice_clone.require_queue(p_queue);
  if p_delay_seconds > voice_clone.queue_delay_seconds() then
    insert into voice_clone.deferred_messages (queue, due_at, message)
    select p_queue, now() + make_interval(secs => p_delay_seconds), m from unnest(p_messages) m;
    return v_ids;
  end if;
  select array_agg(s) into v_ids from pgmq.send_batch(p_queue, p_messages, p_delay_seconds) s;
  if p_delay_seconds = 0 then
    perform voice_clone.notify('voice_clone_wake', p_queue);
  end if;
  return v_ids;
end
$$;

-- Sends the deferred messages that are due, oldest first, at most p_limit. Two calls at once share the work.
create function voice_clone.release_deferred_messages(p_queue text, p_limit int) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_messages jsonb[];
begin
  with due as materialized (
    select d.id from voice_clone.deferred_messages d
    where d.queue = p_queue and d.due_at <= now() order by d.due_at limit p_limit for update skip locked
  ), taken as (
    delete from voice_clone.deferred_messages d using due where d.id = due.id returning d.due_at, d.message
  )
  select array_agg(t.message order by t.due_at) into v_messages from taken t;
  perform voice_clone.send_messages(p_queue, v_messages, 0) where v_messages is not null;
end
$$;

-- Each read first sends what is due in the queue, so that deferred messages need no timer of their own.
create function voice_clone.read_messages(p_queue text, p_visibility_seconds int, p_quantity int)
returns table (msg_id bigint, read_ct int, enqueued_at timestamptz, message jsonb)
language plpgsql security definer set search_path = '' rows 50
as $$
begin
  perform voice_clone.require_queue(p_queue);
  if exists (select from voice_clone.deferred_messages d where d.queue = p_queue and d.due_at <= now()) then
    perform voice_clone.release_deferred_messages(p_queue, 1000);
  end if;
  return query
    select m.msg_id, m.read_ct, m.enqueued_at, case when jsonb_typeof(m.message) = 'object'
      then jsonb_build_object('enqueued_at', m.enqueued_at) || m.message else m.message end
    from pgmq.read(p_queue, p_visibility_seconds, p_quantity) m;
end
$$;

-- pgmq.read plans its statement again on each call. After autovacuum has seen an empty queue, the planner assumes that it
-- is still empty, scans all of it on each read and compares every message with each of the chosen ones: 16 of
-- 50,000 took 90 ms until the next autovacuum. Without these plan types it reads the oldest by the index and merges
-- them, which takes one millisecond.
alter function voice_clone.read_messages(text, int, int) set enable_seqscan = off;
alter function voice_clone.read_messages(text, int, int) set enable_nestloop = off;
alter function voice_clone.read_messages(text, int, int) set enable_hashjoin = off;
-- Called by read_messages; it looks up the few that are due one by one.
alter function voice_clone.release_deferred_messages(text, int) set enable_nestloop = on;

-- Returns the ids that were still there: of two readers of a message, one gets its id.
create function voice_clone.acknowledge_messages(p_queue text, p_message_ids bigint[]) returns bigint[]
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_queue(p_queue);
  return (select coalesce(array_agg(d), '{}') from pgmq.delete(p_queue, p_message_ids) d);
end
$$;

create function voice_clone.postpone_messages(p_queue text, p_message_ids bigint[], p_delays_seconds int[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_queue(p_queue);
  perform pgmq.set_vt(p_queue, m.id, m.delay) from unnest(p_message_ids, p_delays_seconds) m (id, delay);
end
$$;

create function voice_clone.queue_metrics()
returns table (
  queue text, queue_length bigint, oldest_message_seconds int, deferred_length bigint, dead_length bigint)
language sql stable security definer set search_path = ''
as $$
  select q.name, live.queue_length, live.oldest_msg_age_sec, coalesce(deferred.length, 0), coalesce(dead.length, 0)
  from voice_clone.queues q
  cross join lateral pgmq.metrics(q.name) live
  left join (select d.queue, count(*) as length from voice_clone.deferred_messages d group by d.queue) deferred
    on deferred.queue = q.name
  left join (select d.queue, count(*) as length from voice_clone.dead_letters d group by d.queue) dead on dead.queue = q.name
$$;

create function operations.queue_metrics()
returns table (
  queue text, queue_length bigint, oldest_message_seconds int, deferred_length bigint, dead_length bigint)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.queue_metrics() $$;

grant execute on function
  voice_clone.send_notifications(text[], text[]),
  voice_clone.send_messages(text, jsonb[], int),
  voice_clone.read_messages(text, int, int),
  voice_clone.acknowledge_messages(text, bigint[]),
  voice_clone.postpone_messages(text, bigint[], int[]),
  voice_clone.queue_metrics()
to voice_clone_backend;
grant execute on function operations.queue_metrics() to service_role;
