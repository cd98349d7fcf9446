-- Deferred messages: what nobody may see for more than a few seconds waits here, and not in its queue.
--
-- pgmq.read walks past every message that is not visible yet, so 200,000 of them make each read five times
-- slower. Here they cost nothing until they are due; then they are sent like any other message.

create table voice_clone.deferred_messages (
  id bigint generated always as identity primary key,
  queue text not null references voice_clone.queues (name),
  due_at timestamptz not null,
  message jsonb not null
);
create index deferred_messages_queue_due_at_idx on voice_clone.deferred_messages (queue, due_at);
alter table voice_clone.deferred_messages enable row level security;
revoke all on voice_clone.deferred_messages from public, anon, authenticated, service_role;

-- The longest delay that a queue itself keeps, in seconds.
create function voice_clone.queue_delay_seconds() returns int
language plpgsql stable set search_path = ''
as $$
begin
  return ceil(extract(epoch from voice_clone.time_of('queue_hold')));
end
$$;

-- The ids of the messages that are in the queue: none where they were deferred. The notification names the queue, so
-- that a message wakes the consumers of one queue and not of all.
create or replace function voice_clone.send_messages(p_queue text, p_messages jsonb[], p_delay_seconds int default 0)
returns bigint[]
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids bigint[] := '{}';
begin
  if cardinality(p_messages) = 0 then
    return v_ids;
  end if;
  perform voice_clone.known_queue(p_queue);
  if p_delay_seconds > voice_clone.queue_delay_seconds() then
    insert into voice_clone.deferred_messages (queue, due_at, message)
    select p_queue, now() + make_interval(secs => p_delay_seconds), m from unnest(p_messages) m;
    return v_ids;
  end if;
  select array_agg(s) into v_ids from pgmq.send_batch(p_queue, p_messages, p_delay_seconds) s;
  if p_delay_seconds = 0 then
    perform pg_notify('voice_clone_wake', p_queue);
  end if;
  return v_ids;
end
$$;

-- Sends what is due in a queue, oldest first, no more than the limit. Two of these at once share the work.
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
  perform voice_clone.send_messages(p_queue, v_messages) where v_messages is not null;
end
$$;

-- Whoever reads a queue sends what is due in it first, so that no clock of its own is needed.
create or replace function voice_clone.read_messages(p_queue text, p_visibility_seconds int, p_quantity int)
returns table (msg_id bigint, read_ct int, enqueued_at timestamptz, message jsonb)
language plpgsql security definer set search_path = '' rows 50
as $$
begin
  perform voice_clone.known_queue(p_queue);
  if exists (select from voice_clone.deferred_messages d where d.queue = p_queue and d.due_at <= now()) then
    perform voice_clone.release_deferred_messages(p_queue, 1000);
  end if;
  return query
    select m.msg_id, m.read_ct, m.enqueued_at, m.message
    from pgmq.read(p_queue, p_visibility_seconds, p_quantity) m;
end
$$;

-- With the deferred ones, which are a queue's work as well.
drop function operations.queue_metrics();
drop function voice_clone.queue_metrics();
create function voice_clone.queue_metrics()
returns table (
  queue text, queue_length bigint, oldest_message_seconds int, deferred_length bigint, dead_length bigint)
language sql stable security definer set search_path = ''
as $$
  select q.name, live.queue_length, live.oldest_msg_age_sec, coalesce(deferred.length, 0), dead.queue_length
  from voice_clone.queues q
  cross join lateral pgmq.metrics(q.name) live
  cross join lateral pgmq.metrics(q.name || '_dead') dead
  left join (select d.queue, count(*) as length from voice_clone.deferred_messages d group by d.queue) deferred
    on deferred.queue = q.name
$$;
create function operations.queue_metrics()
returns table (
  queue text, queue_length bigint, oldest_message_seconds int, deferred_length bigint, dead_length bigint)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.queue_metrics() $$;

grant execute on function voice_clone.queue_delay_seconds(), voice_clone.queue_metrics() to voice_clone_backend;
grant execute on function operations.queue_metrics() to service_role;
