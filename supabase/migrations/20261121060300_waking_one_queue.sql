-- Sending, anew: a notification names its queue, so that a message wakes the consumers of one queue and not of all.

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
