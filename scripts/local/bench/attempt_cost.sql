-- wal_position --
-- in bytes since the beginning of the log
select pg_current_wal_insert_lsn() - '0/0'

-- unread --
-- messages that are in a queue or deferred
select coalesce(sum(m.queue_length + m.deferred_length), 0)::bigint from voice_clone.queue_metrics() m

-- overdue --
-- as after the timeout lost_message
update voice_clone.deadlines set sweep_at = now()

-- swept --
-- a part of what is due; no row where nothing is
select from voice_clone.sweep(500) limit 1

-- kept_bytes --
-- with indexes, by table; a partition counts for its table, all archives together, and a queue keeps nothing
select name, sum(bytes)::bigint as bytes
from (
  select case n.nspname when 'pgmq' then 'archived messages' else n.nspname || '.' || root.relname end as name,
    pg_total_relation_size(c.oid) as bytes
  from pg_class c
  join pg_class root on root.oid = coalesce(pg_partition_root(c.oid), c.oid)
  join pg_namespace n on n.oid = root.relnamespace
  where c.relkind = 'r' and (
    n.nspname in ('public', 'voice_clone') or n.nspname = 'pgmq' and starts_with(root.relname, 'a_'))
) tables
group by name
