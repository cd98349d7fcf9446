-- Queues: pgmq's own tables, reached only through the functions of the next file.
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

-- The tables of a queue, out of reach of every client.
create function voice_clone.create_queue_tables(p_name text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_table text;
begin
  perform pgmq.create(p_name);
  foreach v_table in array array['q_' || p_name, 'a_' || p_name] loop
    execute format('alter table pgmq.%I enable row level security', v_table);
    execute format('revoke all on pgmq.%I from public, anon, authenticated', v_table);
  end loop;
  -- A read finds the oldest messages by their ids and moves their visibility. Without pgmq's index on it, which no
  -- read uses, and with room in the page, that update writes no index (HOT).
  execute format('drop index if exists pgmq.%I', 'q_' || p_name || '_vt_idx');
  execute format('alter table pgmq.%I set (fillfactor = 40, autovacuum_vacuum_scale_factor = 0,'
    ' autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 1000)', 'q_' || p_name);
end
$$;

create function voice_clone.has_queue_tables(p_name text) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (select from pg_catalog.pg_class c
    where c.relnamespace = 'pgmq'::regnamespace and c.relname = 'q_' || p_name);
end
$$;

-- All that a new queue needs: its row and its tables.
create function voice_clone.create_queue(p_name text, p_purpose text) returns void
language plpgsql set search_path = ''
as $$
begin
  insert into voice_clone.queues (name, purpose) values (p_name, p_purpose);
  perform voice_clone.create_queue_tables(p_name);
end
$$;

-- For operators, after a backup was restored: creates the queues whose tables are missing, and returns their names. pgmq's
-- tables are in no backup where pgmq is an extension. The sweep sends again what their messages were for.
create function operations.create_missing_queues() returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  v_name text;
begin
  for v_name in
    select q.name from voice_clone.queues q
    where not voice_clone.has_queue_tables(q.name)
    order by q.name
  loop
    perform voice_clone.create_queue_tables(v_name);
    return next v_name;
  end loop;
end
$$;
revoke all on function operations.create_missing_queues() from public, anon, authenticated, service_role;

select voice_clone.create_queue(queue.name, queue.purpose)
from (values
  ('voice_clone_process', 'claim a queued attempt and enroll its sample'),
  ('voice_clone_verify', 'poll the provider for the verification of a voice'),
  ('voice_mirror', 'copy lifecycle state into reflections.voice'),
  ('voice_runtime_sync', 'make a ready voice known to the runtime'),
  ('voice_preview', 'render the clip that the owner must hear'),
  ('voice_cleanup', 'remove orphans at the provider'),
  ('speech_jobs', 'speak a text with the voice of a sample'),
  ('uploads', 'finalize an upload whose name and language are known'),
  ('voice_samples', 'inspect a sample and prepare it for the providers'),
  ('recordings', 'fetch the recording of an employee''s call and store it'),
  ('employee_files', 'write or remove the file that names the voice of an employee'),
  ('recording_clones', 'clone an employee whose recording was stored, where the organization asked for it'),
  ('webhooks', 'deliver the transitions of attempts to the webhooks of their owner'),
  ('consent_anchors', 'sign an anchor of the consents and publish it'),
  ('voice_checks', 'look up at their provider whether voices are still there'),
  ('object_removal', 'remove the recordings, previews and speeches of removed voices from Storage')
) queue (name, purpose);

create function voice_clone.require_queue(p_queue text) returns text
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (select from voice_clone.queues q where q.name = p_queue) then
    raise exception 'there is no queue %', p_queue using errcode = 'VC006';
  end if;
  return p_queue;
end
$$;

-- Deferred messages: a message that is delayed for more than a few seconds waits here, and not in its queue.
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
  return ceil(extract(epoch from voice_clone.timeout('queue_hold')));
end
$$;

grant execute on function voice_clone.queue_delay_seconds() to voice_clone_backend;
