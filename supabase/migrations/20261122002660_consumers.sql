-- Consumers: which processes read the queues. Each writes its own row about every 15 seconds, so that the readiness check and
-- operators see whether one is alive. Unlogged: after a crash of Postgres each row is back within those seconds.

create unlogged table voice_clone.consumers (
  id uuid primary key,
  host text not null check (length(host) between 1 and 100),
  queues text[] not null check (cardinality(queues) between 1 and 100),
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  is_stopped boolean not null default false
) with (fillfactor = 50);
alter table voice_clone.consumers enable row level security;
revoke all on voice_clone.consumers from public, anon, authenticated, service_role;

-- The row of one process. Deletes a bounded number of rows whose processes are long gone; the last that was seen stays.
create function voice_clone.report_consumer(p_id uuid, p_host text, p_queues text[], p_is_stopped boolean) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  insert into voice_clone.consumers as c (id, host, queues, is_stopped) values (p_id, left(p_host, 100), p_queues, p_is_stopped)
  on conflict (id) do update set seen_at = now(), is_stopped = excluded.is_stopped;
  delete from voice_clone.consumers c where c.id in (
    select x.id from voice_clone.consumers x
    where x.id <> p_id and x.seen_at < now() - voice_clone.timeout('consumer_history')
    limit 100 for update skip locked);
end
$$;

-- How many processes are alive, when one was last seen, and the queues that none of them reads.
create function voice_clone.consumers_state() returns table (alive int, last_seen_at timestamptz, unread_queues text[])
language sql stable security definer set search_path = '' rows 1
as $$
  with alive as materialized (
    select c.queues from voice_clone.consumers c
    where not c.is_stopped and c.seen_at > now() - voice_clone.timeout('consumer')
  )
  select (select count(*)::int from alive),
    (select max(c.seen_at) from voice_clone.consumers c),
    array(select q.name from voice_clone.queues q where not exists (select from alive a where q.name = any (a.queues)) order by 1)
$$;

-- Whether a process of this host is alive, for the health check that runs beside it.
create function voice_clone.consumer_is_alive(p_host text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select from voice_clone.consumers c
    where c.host = left(p_host, 100) and not c.is_stopped and c.seen_at > now() - voice_clone.timeout('consumer'))
$$;

-- For operators: each process, the last seen first.
create function operations.consumers()
returns table (host text, queues text[], started_at timestamptz, seen_at timestamptz, is_alive boolean)
language sql stable security definer set search_path = ''
as $$
  select c.host, c.queues, c.started_at, c.seen_at, not c.is_stopped and c.seen_at > now() - voice_clone.timeout('consumer')
  from voice_clone.consumers c order by c.seen_at desc, c.id
$$;

grant execute on function
  voice_clone.report_consumer(uuid, text, text[], boolean),
  voice_clone.consumer_is_alive(text),
  voice_clone.consumers_state()
to voice_clone_backend;
grant execute on function operations.consumers() to service_role;
