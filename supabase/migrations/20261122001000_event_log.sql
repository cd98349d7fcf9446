-- Event log: each change of an attempt appends one event, sends the follow-ups of its edges and wakes their consumers, in
-- the transaction of the change.

-- Partitioned by month, so that an old month is dropped and not deleted row by row. No unique index spans the partitions:
-- an attempt's versions grow under the lock of its row. No foreign key to the attempts: to create or to drop a partition
-- would lock them, and each event would write a lock of its attempt.
create table voice_clone.events (
  id bigint generated always as identity,
  attempt_id uuid not null,
  version bigint not null,
  recorded_at timestamptz not null default now(),
  events text[] not null,
  changes jsonb not null
) partition by range (recorded_at);
-- Not unique, so that the entries of an attempt share one key: of some ten events each entry takes a third of what it takes in a
-- primary key with the id and the time. What is read of one attempt is sorted by the id, which is from a sequence.
create index events_attempt_id_idx on voice_clone.events (attempt_id);
comment on column voice_clone.events.events is 'the names of the edges taken; taken_down, takedown_lifted, verification_pending or updated where none was';
comment on column voice_clone.events.changes is
  'the columns that changed, without those that follow from the other columns of the event; see voice_clone.event_changes';
comment on column voice_clone.events.recorded_at is 'the time of the transaction, which is updated_at of a transition';
-- For what happened lately: rows come in the order of their times, so such an index is small and costs an event nothing.
create index events_recorded_at_idx on voice_clone.events using brin (recorded_at)
  with (autosummarize = on, pages_per_range = 16);
alter table voice_clone.events enable row level security;
revoke all on voice_clone.events from public, anon, authenticated, service_role;
create trigger events_append_only before update or delete or truncate on voice_clone.events
  for each statement execute function voice_clone.refuse_append_only_change();

-- The columns of an attempt that has only been opened, where they are not null: its first event leaves them out. A value
-- here never changes, because older events are read with it.
create function voice_clone.new_attempt_columns() returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb '{"source": "sample", "preview_status": "not_required", "runtime_status": "pending", "is_active": false, "lease_epoch": 0, "region": "", "process_count": 0,
    "verify_count": 0, "sync_count": 0, "preview_count": 0, "user_retry_count": 0, "process_budget": 5, "sync_budget": 5,
    "preview_budget": 5, "user_retry_budget": 5}'
$$;

-- What an update sets together with these columns, at the time of its event: the times of the states, and the end of a lease.
create function voice_clone.following_columns(p_changes jsonb, p_at text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_changes ->> 'status' in ('queued', 'processing', 'verifying', 'ready', 'failed', 'expired', 'cancelled')
      then jsonb_build_object(p_changes ->> 'status' || '_at', p_at) else '{}' end
    || case when p_changes ->> 'runtime_status' = 'synced' then jsonb_build_object('synced_at', p_at) else '{}' end
    || case when p_changes ->> 'preview_status' = 'completed' then jsonb_build_object('previewed_at', p_at) else '{}' end
    || case when p_changes -> 'is_active' = 'true' then jsonb_build_object('activated_at', p_at) else '{}' end
    || case when p_changes -> 'lease_owner' = 'null' then jsonb '{"leased_at": null, "lease_seconds": null}' else '{}' end;
end
$$;

-- All columns that an event changed, with their new values. A transition has a version and sets updated_at. The value of a
-- timestamp that is the event's own is stored as true.
create function voice_clone.event_changes(e voice_clone.events) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return case when 'opened' = any (e.events) then voice_clone.new_attempt_columns()
      || jsonb_build_object('id', e.attempt_id, 'created_at', voice_clone.utc_text(e.recorded_at))
    else voice_clone.following_columns(e.changes, voice_clone.utc_text(e.recorded_at)) end
    || coalesce((
      select jsonb_object_agg(c.key, case when c.value = 'true' and c.key ~ '_(at|before)$'
        then to_jsonb(voice_clone.utc_text(e.recorded_at)) else c.value end)
      from jsonb_each(e.changes) c), '{}')
    || case when e.events = '{verification_pending}' then '{}'
      else jsonb_build_object('version', e.version, 'updated_at', voice_clone.utc_text(e.recorded_at)) end;
end
$$;

-- After how many seconds an attempt is mirrored. While a worker has it or will have it at once, more transitions follow, and
-- one message serves all of them.
create function voice_clone.mirror_delay(a public.voice_clone_attempts) returns int
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when a.status <> 'verifying' and (a.lease_owner is not null or voice_clone.awaited_queue(a) is not null)
    then ceil(extract(epoch from voice_clone.timeout('mirror_progress'))) else 0
  end;
end
$$;

-- Held exclusively by the consumer that mirrors a reflection or an employee until it has acknowledged the messages, and shared by a
-- transition that relies on one of these messages.
create function voice_clone.mirror_lock(p_subject uuid) returns bigint
language plpgsql immutable set search_path = ''
as $$
begin
  return hashtextextended('mirror ' || p_subject, 0);
end
$$;

-- Whether a message that mirrors this transition as well is in the queue already: the mirror does not show the version before
-- it, so the message about that version was not handled. From here to the commit no consumer handles it, because a
-- consumer reads the attempt under the lock. Where the lock is not free, a consumer may have read the attempt already.
create function voice_clone.has_mirror_message(p_subject uuid, p_version bigint) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if p_version is null or current_setting('transaction_isolation') <> 'read committed'
    or not pg_try_advisory_xact_lock_shared(voice_clone.mirror_lock(p_subject))
  then
    return false;
  end if;
  return exists ( -- a statement of its own: its snapshot is younger than the lock
    select from public.reflections r where r.id = p_subject and voice_clone.shown_version(r.voice) < p_version
    union all
    select from public.employees e where e.id = p_subject and voice_clone.shown_version(e.voice) < p_version);
end
$$;

-- An attempt that has only been opened, before its own columns.
create function voice_clone.new_attempt() returns public.voice_clone_attempts
language sql immutable set search_path = ''
as $$
  select a from jsonb_populate_record(null::public.voice_clone_attempts, voice_clone.new_attempt_columns()) a
$$;

-- The columns that a write changed, with their new values, without those that an update sets with others (following_columns); true for a time
-- (…_at, …_before) that is the transaction's own. Its statement is made from the columns of the table: comparing them one by one costs a
-- tenth of comparing two rows as jsonb.
do $outer$
declare
  v_comparisons text;
begin
  select string_agg(format(
      'case when p_new.%1$I is distinct from p_old.%1$I%2$s then jsonb_build_object(%1$L, %3$s) else %4$L end',
      c.attname, ' and (p_old.id is not null and ' || f.condition || ') is not true',
      case when c.atttypid = 'timestamptz'::regtype and c.attname ~ '_(at|before)$'
        then format('case p_new.%1$I when now() then jsonb %2$L else to_jsonb(voice_clone.utc_text(p_new.%1$I)) end', c.attname, 'true')
        else format('p_new.%I', c.attname) end, '{}'), E'\n    || ' order by c.attnum)
  into v_comparisons
  from pg_catalog.pg_attribute c
  left join lateral (values
    ('^(queued|processing|verifying|ready|failed|expired|cancelled)_at$',
      format('p_new.status <> p_old.status and p_new.status = %L', replace(c.attname, '_at', ''))),
    ('^synced_at$', $$p_new.runtime_status <> p_old.runtime_status and p_new.runtime_status = 'synced'$$),
    ('^previewed_at$', $$p_new.preview_status <> p_old.preview_status and p_new.preview_status = 'completed'$$),
    ('^activated_at$', 'p_new.is_active and not p_old.is_active and p_new.activated_at = now()'),
    ('^(leased_at|lease_seconds)$', 'p_new.lease_owner is null and p_old.lease_owner is not null')
  ) f (columns, condition) on c.attname ~ f.columns
  where c.attrelid = 'public.voice_clone_attempts'::regclass and c.attnum > 0 and not c.attisdropped
    and c.attname not in ('id', 'version', 'updated_at');
  execute format($create$
create function voice_clone.changed_columns(p_old public.voice_clone_attempts, p_new public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $body$
begin
  return %s;
end
$body$ $create$, v_comparisons);
end
$outer$;

-- After a write. A message that would wait longer than its queue keeps it is left to the sweep.
create function voice_clone.append_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.voice_clone_attempts := case tg_op when 'UPDATE' then old else voice_clone.new_attempt() end;
  v_changes jsonb;
  v_events text[];
  v_follows boolean;
  v_event voice_clone.events;
  v_queue text := voice_clone.awaited_queue(new);
  v_subject uuid := coalesce(new.reflection_id, new.employee_id);
  v_delay int;
begin
  if tg_op = 'UPDATE' and new = old then
    return null;
  end if;
  v_changes := voice_clone.changed_columns(v_old, new);
  if tg_op = 'INSERT' and new.created_at = now() then
    v_changes := v_changes - 'created_at';
  end if;
  select array_agg(e.event order by e.machine desc), bool_or(v_queue = any (e.follow_ups)) into v_events, v_follows
  from voice_clone.edges e
  where (e.machine, e.from_status, e.to_status) in (
    ('status', case tg_op when 'UPDATE' then old.status else '' end, new.status), ('runtime', v_old.runtime_status, new.runtime_status),
    ('preview', case when tg_op = 'UPDATE' then old.preview_status end, new.preview_status));

  insert into voice_clone.events (attempt_id, version, events, changes)
  values (new.id, new.version,
    coalesce(v_events, case
      when tg_op = 'UPDATE' and new.taken_down_at is distinct from old.taken_down_at
      then array[case when new.taken_down_at is null then 'takedown_lifted' else 'taken_down' end]
      when tg_op = 'UPDATE' and new.version = old.version then '{verification_pending}'
      else '{updated}' end),
    v_changes)
  returning * into v_event;
  if tg_op = 'UPDATE' and new.version = old.version then -- bookkeeping sends no message
    return null;
  end if;
  perform voice_clone.queue_deliveries(v_event, new);
  if tg_op = 'UPDATE' and old.taken_down_at is not null and new.taken_down_at is null then
    v_follows := v_queue is not null; -- what it waited for was not done meanwhile
  end if;
  if v_follows and not voice_clone.is_long_wait(new.not_before) then
    perform pgmq.send(v_queue, voice_clone.queue_message(v_queue, new.id, new.version, new.reflection_id),
                      greatest(0, ceil(extract(epoch from new.not_before - now())))::int);
    perform voice_clone.notify('voice_clone_wake', v_queue);
  end if;
  if v_subject is not null and (new.is_active or v_old.is_active) then
    v_delay := voice_clone.mirror_delay(new);
    if v_delay = 0 or not voice_clone.has_mirror_message(v_subject, case when v_old.is_active then v_old.version end) then
      perform pgmq.send('voice_mirror', voice_clone.queue_message('voice_mirror', v_subject, new.version, null), v_delay);
      perform voice_clone.notify('voice_clone_wake', 'voice_mirror');
    end if;
  end if;
  return null;
end
$$;
create trigger voice_clone_attempts_append_event after insert or update on public.voice_clone_attempts
  for each row execute function voice_clone.append_event();

-- An attempt's row, rebuilt from its events alone.
create function voice_clone.replay(p_attempt uuid) returns public.voice_clone_attempts
language plpgsql stable set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select r.* into a
  from (
    select jsonb_object_agg(c.key, c.value order by e.id) as changes
    from voice_clone.events e, jsonb_each(voice_clone.event_changes(e)) c where e.attempt_id = p_attempt
  ) state, jsonb_populate_record(null::public.voice_clone_attempts, state.changes) r;
  return a;
end
$$;

-- Notifies with the attempt's id; a service with a follower of the attempt reads the rest. Not for an attempt that was only
-- opened: it has no follower yet, and NOTIFY makes commits wait for each other.
create function voice_clone.notify_followers() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.notify('voice_clone_events', new.attempt_id::text);
  return null;
end
$$;
create trigger events_notify_followers after insert on voice_clone.events
  for each row when (new.version > 1 and new.events <> '{verification_pending}') execute function voice_clone.notify_followers();
