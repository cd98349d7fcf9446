-- Dead letters, anew: each is an object with its reason, also where the body is none (null, a text, a list).

create or replace function voice_clone.dead_letter_messages(
  p_queue text, p_msg_ids bigint[], p_bodies jsonb[], p_reads int[], p_reasons text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_dead jsonb[];
begin
  with archived as materialized (
    select a as id from pgmq.archive(voice_clone.known_queue(p_queue), p_msg_ids) a
  )
  select array_agg(
    case jsonb_typeof(d.body) when 'object' then d.body else jsonb_build_object('deadBody', d.body) end
    || jsonb_build_object('deadReason', d.reason, 'deadMessageId', d.id, 'deadReads', d.reads, 'deadAt', now())
    order by d.id)
  into v_dead
  from unnest(p_msg_ids, p_bodies, p_reads, p_reasons) d (id, body, reads, reason)
  join archived using (id);
  if v_dead is not null then
    perform pgmq.send_batch(p_queue || '_dead', v_dead, 0);
  end if;
end
$$;
