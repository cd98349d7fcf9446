-- Dead letters, anew: their reader gives the body, for pgmq promises calls and no tables to read it from.

drop function voice_clone.dead_letter_messages(text, bigint[], text[]);

-- Whoever archives a message sends its dead letter, so one that two readers bury is one letter.
create function voice_clone.dead_letter_messages(
  p_queue text, p_msg_ids bigint[], p_bodies jsonb[], p_reads int[], p_reasons text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_dead jsonb[];
begin
  with archived as materialized (
    select a as id from pgmq.archive(voice_clone.known_queue(p_queue), p_msg_ids) a
  )
  select array_agg(coalesce(d.body, 'null') || jsonb_build_object(
    'deadReason', d.reason, 'deadMessageId', d.id, 'deadReads', d.reads, 'deadAt', now()) order by d.id)
  into v_dead
  from unnest(p_msg_ids, p_bodies, p_reads, p_reasons) d (id, body, reads, reason)
  join archived using (id);
  if v_dead is not null then
    perform pgmq.send_batch(p_queue || '_dead', v_dead, 0);
  end if;
end
$$;

grant execute on function voice_clone.dead_letter_messages(text, bigint[], jsonb[], int[], text[])
  to voice_clone_backend;
