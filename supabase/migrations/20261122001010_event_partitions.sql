-- Partitions of the event log: one a month (UTC), created ahead by the sweep, dropped by an operator.

-- For what is recorded in a month without a partition, so that no transition fails for want of one. The sweep moves it.
create table voice_clone.events_default partition of voice_clone.events default;
alter table voice_clone.events_default enable row level security;
alter table voice_clone.events_default replica identity full; -- an erasure updates events; without a key a publication of all tables would refuse it
revoke all on voice_clone.events_default from public, anon, authenticated, service_role;
create trigger events_append_only before update or delete or truncate on voice_clone.events_default
  for each statement execute function voice_clone.refuse_append_only_change();

-- Filled from the default partition before it is attached: a partition may not be created while the default has its rows.
create function voice_clone.create_event_partition(p_month timestamp) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_name text := 'events_' || to_char(p_month, 'YYYY_MM');
  v_from timestamptz := p_month at time zone 'utc';
  v_to timestamptz := (p_month + interval '1 month') at time zone 'utc';
begin
  execute format('create table voice_clone.%I (like voice_clone.events including defaults)'
    ' with (autovacuum_analyze_threshold = 1000)', v_name);
  execute format('alter table voice_clone.%I enable row level security', v_name);
  execute format('alter table voice_clone.%I replica identity full', v_name);
  execute format('revoke all on voice_clone.%I from public, anon, authenticated, service_role', v_name);
  if exists (select from voice_clone.events_default d where d.recorded_at >= v_from and d.recorded_at < v_to) then
    alter table voice_clone.events_default disable trigger events_append_only;
    execute format('with moved as (delete from voice_clone.events_default d'
      ' where d.recorded_at >= $1 and d.recorded_at < $2 returning d.*) insert into voice_clone.%I select * from moved', v_name)
    using v_from, v_to;
    alter table voice_clone.events_default enable trigger events_append_only;
  end if;
  execute format('alter table voice_clone.events attach partition voice_clone.%I for values from (%L) to (%L)',
    v_name, v_from, v_to);
  execute format('create trigger events_append_only before update or delete or truncate on voice_clone.%I'
    ' for each statement execute function voice_clone.refuse_append_only_change()', v_name);
end
$$;

-- The partitions of this month, of the months ahead and of what is in the default partition, where they are missing.
-- Attaching one locks the default partition. The sweep holds other locks by then, so this waits for none: where the log is
-- being read it raises 55P03 and is left to the next call, and where another call creates partitions it does nothing.
create function voice_clone.create_event_partitions(p_months_ahead int) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_months timestamp[] := array( -- read first: no table is attached while a query of it is open
    select date_trunc('month', now() at time zone 'utc') + make_interval(months => n) from generate_series(0, p_months_ahead) n
    union
    select date_trunc('month', d.recorded_at at time zone 'utc') from voice_clone.events_default d);
  v_month timestamp;
begin
  foreach v_month in array v_months
  loop
    continue when to_regclass('voice_clone.events_' || to_char(v_month, 'YYYY_MM')) is not null;
    exit when not pg_try_advisory_xact_lock(hashtextextended('event_partitions', 0));
    continue when to_regclass('voice_clone.events_' || to_char(v_month, 'YYYY_MM')) is not null;
    lock table only voice_clone.events in share update exclusive mode nowait;
    lock table voice_clone.events_default in access exclusive mode nowait;
    perform voice_clone.create_event_partition(v_month);
  end loop;
end
$$;
select voice_clone.create_event_partitions(3);

-- For operators: drops the months that ended longer ago than the retention, and returns their names. An attempt whose
-- events were dropped keeps its row; its timeline begins later, and no replay rebuilds it. Dropping locks the event log,
-- so it waits two seconds for open transactions and raises 55P03 where that is not enough: call it again.
create function operations.drop_events(p_retention interval) returns setof text
language plpgsql security definer set search_path = '' set lock_timeout = '2s'
as $$
declare
  v_name text;
begin
  if p_retention is null or p_retention < interval '30 days' then
    raise exception 'events are kept for at least 30 days' using errcode = '22023';
  end if;
  for v_name in
    select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'voice_clone.events'::regclass and c.relname ~ '^events_[0-9]{4}_[0-9]{2}$'
      and (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'utc' <= now() - p_retention
    order by c.relname
  loop
    execute format('drop table voice_clone.%I', v_name);
    return next v_name;
  end loop;
end
$$;
revoke all on function operations.drop_events(interval) from public, anon, authenticated;
grant execute on function operations.drop_events(interval) to service_role;
