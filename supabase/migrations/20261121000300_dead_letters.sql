-- Dead letters: messages that used up their budget, kept beside their queue with the reason.

create function voice_clone.dead_letter_messages(p_queue text, p_msg_ids bigint[], p_reasons text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_dead jsonb[];
begin
  perform voice_clone.known_queue(p_queue);
  execute format(
    'select array_agg(q.message || jsonb_build_object(''deadReason'', d.reason, ''deadMessageId'', q.msg_id,
                                                      ''deadReads'', q.read_ct, ''deadAt'', now()))
     from unnest($1, $2) d (id, reason)
     join pgmq.%I q on q.msg_id = d.id', 'q_' || p_queue)
  into v_dead using p_msg_ids, p_reasons;
  if v_dead is null then
    return;
  end if;
  perform pgmq.send_batch(p_queue || '_dead', v_dead, 0);
  perform pgmq.archive(p_queue, p_msg_ids);
end
$$;

create function voice_clone.queue_metrics()
returns table (queue text, queue_length bigint, oldest_message_seconds int, dead_length bigint)
language sql stable security definer set search_path = ''
as $$
  select q.name, live.queue_length, live.oldest_msg_age_sec, dead.queue_length
  from voice_clone.queues q
  cross join lateral pgmq.metrics(q.name) live
  cross join lateral pgmq.metrics(q.name || '_dead') dead
$$;

create function operations.queue_metrics()
returns table (queue text, queue_length bigint, oldest_message_seconds int, dead_length bigint)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.queue_metrics() $$;

grant execute on function
  voice_clone.read_messages(text, int, int),
  voice_clone.archive_messages(text, bigint[]),
  voice_clone.postpone_messages(text, bigint[], int[]),
  voice_clone.send_messages(text, jsonb[], int),
  voice_clone.dead_letter_messages(text, bigint[], text[]),
  voice_clone.queue_metrics()
to voice_clone_backend;
grant execute on function operations.queue_metrics() to service_role;
