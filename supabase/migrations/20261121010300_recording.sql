-- Recording, anew: a follow-up that waits longer than the queue may hold is left to the sweep, and bookkeeping
-- is an event of its own name without a version. Consumers are woken where a message was sent for them, and by no
-- upload that was merely opened.

set local lock_timeout = '5s';

drop index voice_clone.events_version_idx;
create unique index events_version_idx on voice_clone.events (attempt_id, version)
  where not events <@ '{lease_renewed,swept,verification_pending}';

create or replace function voice_clone.record_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_old jsonb := case tg_op when 'UPDATE' then to_jsonb(old) else '{}' end;
  v_changes jsonb;
  v_edges voice_clone.edges[];
  v_queue text := voice_clone.awaited_queue(new);
begin
  if tg_op = 'INSERT' then
    v_changes := jsonb_strip_nulls(to_jsonb(new));
    v_edges := array(
      select e from voice_clone.edges e
      where e.machine = 'status' and e.from_status = '' and e.to_status = new.status);
  else
    select jsonb_object_agg(n.key, n.value) into v_changes from jsonb_each(to_jsonb(new)) n
    where n.value is distinct from v_old -> n.key;
    if v_changes is null then
      return null;
    end if;
    v_edges := array(
      select e from voice_clone.edges e
      where (e.machine, e.from_status, e.to_status) in (
        ('status', old.status, new.status), ('runtime', old.runtime_status, new.runtime_status),
        ('preview', old.preview_status, new.preview_status)));
  end if;

  insert into voice_clone.events (attempt_id, version, events, changes)
  select new.id, new.version,
    case
      when cardinality(v_edges) > 0 then (select array_agg(e.event order by e.machine desc) from unnest(v_edges) e)
      when v_changes ? 'version' then '{updated}'
      when v_changes ? 'lease_expires_at' then '{lease_renewed}'
      when v_changes ? 'verify_count' then '{verification_pending}'
      else '{swept}'
    end,
    v_changes;
  if not v_changes ? 'version' then -- bookkeeping moves nothing on and wakes nobody
    return null;
  end if;
  if v_queue is not null and not voice_clone.is_long_wait(new.not_before) then
    perform pgmq.send(v_queue, voice_clone.message(e.event, new.id, new.version),
                      greatest(0, ceil(extract(epoch from new.not_before - now())))::int)
    from unnest(v_edges) e where v_queue = any (e.follow_ups) limit 1;
    if found then
      perform pg_notify('voice_clone_wake', v_queue);
    end if;
  end if;
  if new.reflection_id is not null and (new.is_active or (v_old -> 'is_active')::boolean) then
    perform pgmq.send('voice_mirror', voice_clone.message('mirror', new.reflection_id, new.version), 0);
    perform pg_notify('voice_clone_wake', 'voice_mirror');
  end if;
  return null;
end
$$;

drop function voice_clone.is_wanted(text, public.attempts);
drop function voice_clone.is_renewal(public.attempts, public.attempts);

-- Attempts that were waiting before there was a sweep; the guard sets the time.
update public.attempts a set sweep_at = now()
where a.status in ('awaiting_upload', 'queued', 'processing', 'verifying') or (a.status = 'ready' and a.is_active);
