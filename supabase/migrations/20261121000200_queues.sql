-- Queues: pgmq's own tables, reached only through these functions.
--
-- The queue tables have row level security and no policy. No function here names a pgmq type, because an
-- upgrade of the extension drops its types with cascade; columns are named, because versions insert columns.

do $$
begin
  if to_regprocedure('pgmq.create(text)') is null then
    create extension pgmq;
  end if;
end
$$;

create table voice_clone.queues (
  name text primary key check (name ~ '^[a-z0-9_]{1,40}$'),
  purpose text not null
);
alter table voice_clone.queues enable row level security;
revoke all on voice_clone.queues from public, anon, authenticated, service_role;

insert into voice_clone.queues (name, purpose) values
  ('voice_clone_process', 'claim a queued attempt and enroll its sample'),
  ('voice_clone_verify', 'ask the provider whether a voice is verified'),
  ('voice_mirror', 'copy lifecycle state into reflections.voice'),
  ('voice_runtime_sync', 'make a ready voice known to the runtime'),
  ('voice_preview', 'render the clip that the owner must hear'),
  ('voice_cleanup', 'remove orphans at the provider');

do $$
declare
  v_queue text;
  v_table text;
begin
  for v_queue in select q.name || s.suffix from voice_clone.queues q, (values (''), ('_dead')) s (suffix)
  loop
    perform pgmq.create(v_queue);
    foreach v_table in array array['q_' || v_queue, 'a_' || v_queue]
    loop
      execute format('alter table pgmq.%I enable row level security', v_table);
      execute format('revoke all on pgmq.%I from public, anon, authenticated', v_table);
    end loop;
  end loop;
end
$$;

create function voice_clone.known_queue(p_queue text) returns text
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (select from voice_clone.queues q where q.name = p_queue) then
    raise exception 'there is no queue %', p_queue using errcode = 'VC006';
  end if;
  return p_queue;
end
$$;

create function voice_clone.read_messages(p_queue text, p_visibility_seconds int, p_quantity int)
returns table (msg_id bigint, read_ct int, enqueued_at timestamptz, message jsonb)
language plpgsql security definer set search_path = '' rows 50
as $$
begin
  perform voice_clone.known_queue(p_queue);
  return query
    select m.msg_id, m.read_ct, m.enqueued_at, m.message
    from pgmq.read(p_queue, p_visibility_seconds, p_quantity) m;
end
$$;

create function voice_clone.archive_messages(p_queue text, p_msg_ids bigint[]) returns bigint[]
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.known_queue(p_queue);
  return (select coalesce(array_agg(a), '{}') from pgmq.archive(p_queue, p_msg_ids) a);
end
$$;

create function voice_clone.postpone_messages(p_queue text, p_msg_ids bigint[], p_delays_seconds int[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.known_queue(p_queue);
  perform pgmq.set_vt(p_queue, m.id, m.delay) from unnest(p_msg_ids, p_delays_seconds) m (id, delay);
end
$$;

create function voice_clone.send_messages(p_queue text, p_messages jsonb[], p_delay_seconds int default 0)
returns bigint[]
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids bigint[];
begin
  if cardinality(p_messages) = 0 then
    return '{}';
  end if;
  select array_agg(s) into v_ids
  from pgmq.send_batch(voice_clone.known_queue(p_queue), p_messages, p_delay_seconds) s;
  if p_delay_seconds = 0 then
    perform pg_notify('voice_clone_wake', '');
  end if;
  return v_ids;
end
$$;
