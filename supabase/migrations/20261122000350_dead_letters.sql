-- Dead letters: messages whose budget is used up, each with the reason. They are rows of ours and no queue of pgmq: an operator
-- lists them by page, sends one again or drops it, and none of pgmq's functions does that without reading from the front.

create table voice_clone.dead_letters (
  id bigint generated always as identity primary key,
  queue text not null references voice_clone.queues (name),
  message_id bigint not null,
  message jsonb not null,
  reads int not null,
  reason text not null,
  dead_at timestamptz not null default now()
);
comment on column voice_clone.dead_letters.message is 'as it was sent; the JSON null where it had no body';
comment on column voice_clone.dead_letters.message_id is 'in its queue; it has another one when it is sent again';
comment on column voice_clone.dead_letters.reads is 'how often it was read from its queue';
create index dead_letters_queue_idx on voice_clone.dead_letters (queue, id);
create index dead_letters_subject_idx on voice_clone.dead_letters ((message ->> 'id'), queue);
alter table voice_clone.dead_letters enable row level security;
revoke all on voice_clone.dead_letters from public, anon, authenticated, service_role;

-- The call that deletes a message keeps it as a dead letter, so a message that two readers dead-letter is kept once.
create function voice_clone.dead_letter_messages(
  p_queue text, p_message_ids bigint[], p_bodies jsonb[], p_reads int[], p_reasons text[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  with deleted as materialized (
    select d as id from pgmq.delete(voice_clone.require_queue(p_queue), p_message_ids) d
  )
  insert into voice_clone.dead_letters (queue, message_id, message, reads, reason)
  select p_queue, d.id, coalesce(d.body, 'null'), d.reads, d.reason
  from unnest(p_message_ids, p_bodies, p_reads, p_reasons) d (id, body, reads, reason)
  join deleted using (id)
  order by d.id;
end
$$;
grant execute on function voice_clone.dead_letter_messages(text, bigint[], jsonb[], int[], text[]) to voice_clone_backend;

-- For operators, the newest first: of one queue or of all, before the letter p_before; or those with the ids p_ids.
create function operations.dead_letters(
  p_queue text default null, p_before bigint default null, p_limit int default 100, p_ids bigint[] default null)
returns table (id bigint, queue text, dead_at timestamptz, reason text, reads int, subject text, message jsonb)
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform voice_clone.require_queue(p_queue) where p_queue is not null;
  return query
    select d.id, d.queue, d.dead_at, d.reason, d.reads, d.message ->> 'id', d.message
    from voice_clone.dead_letters d
    where (p_queue is null or d.queue = p_queue) and (p_before is null or d.id < p_before)
      and (p_ids is null or d.id = any (p_ids))
    order by d.id desc limit least(greatest(p_limit, 1), 1000);
end
$$;

-- Sends these again and forgets them. Of two calls at once, one sends a letter. Returns those that it sent.
create function operations.redrive_dead_letters(p_ids bigint[])
returns table (id bigint, queue text, subject text)
language plpgsql security definer set search_path = ''
as $$
declare
  v_letters voice_clone.dead_letters[];
begin
  with taken as (
    delete from voice_clone.dead_letters d where d.id in (
      select x.id from voice_clone.dead_letters x where x.id = any (p_ids) order by x.id limit 1000 for update)
    returning d
  )
  select array_agg(t.d order by (t.d).id) into v_letters from taken t;
  perform voice_clone.send_messages(l.queue, array_agg(l.message order by l.id), 0) from unnest(v_letters) l group by l.queue;
  return query select l.id, l.queue, l.message ->> 'id' from unnest(v_letters) l order by l.id;
end
$$;

-- Forgets these without sending them. Returns those that it forgot.
create function operations.drop_dead_letters(p_ids bigint[])
returns table (id bigint, queue text, subject text)
language sql security definer set search_path = ''
as $$
  with dropped as (
    delete from voice_clone.dead_letters d where d.id = any (p_ids) returning d.id, d.queue, d.message
  )
  select d.id, d.queue, d.message ->> 'id' from dropped d order by d.id
$$;

revoke all on function
  operations.dead_letters(text, bigint, int, bigint[]), operations.redrive_dead_letters(bigint[]), operations.drop_dead_letters(bigint[])
from public, anon, authenticated;
grant execute on function
  operations.dead_letters(text, bigint, int, bigint[]), operations.redrive_dead_letters(bigint[]), operations.drop_dead_letters(bigint[])
to service_role, voice_clone_backend;
