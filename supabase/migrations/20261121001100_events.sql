-- Events: what a transition leaves behind, in its own transaction: the event, the follow-ups, the wake-up.

create function voice_clone.message(p_event text, p_id uuid, p_version bigint) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'event', p_event, 'id', p_id, 'version', p_version, 'enqueuedAt', clock_timestamp(),
    'traceparent', nullif(current_setting('voice_clone.traceparent', true), ''));
end
$$;

create function voice_clone.record_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_old jsonb := case tg_op when 'UPDATE' then to_jsonb(old) else '{}' end;
  v_edges voice_clone.edges[] := '{}';
  v_edge voice_clone.edges;
  v_queue text;
  v_delay int := greatest(0, ceil(extract(epoch from new.not_before - now())));
begin
  select coalesce(array_agg(e), '{}') into v_edges
  from voice_clone.edges e
  where (e.machine = 'status' and e.to_status = new.status
      and e.from_status = coalesce(v_old ->> 'status', ''))
    or (e.machine = 'runtime' and e.to_status = new.runtime_status and e.from_status = v_old ->> 'runtime_status')
    or (e.machine = 'preview' and e.to_status = new.preview_status and e.from_status = v_old ->> 'preview_status');

  insert into voice_clone.events (attempt_id, version, events, changes)
  select new.id, new.version,
    case
      when cardinality(v_edges) > 0 then (select array_agg(e.event order by e.machine desc) from unnest(v_edges) e)
      when new.version = (v_old -> 'version')::bigint then '{lease_renewed}'
      else '{updated}'
    end,
    (select jsonb_object_agg(n.key, n.value) from jsonb_each(to_jsonb(new)) n
     where n.value is distinct from v_old -> n.key and (tg_op = 'UPDATE' or n.value <> 'null'));

  foreach v_edge in array v_edges loop
    foreach v_queue in array v_edge.follow_ups loop
      if voice_clone.is_wanted(v_queue, new) then
        perform pgmq.send(v_queue, voice_clone.message(v_edge.event, new.id, new.version),
                          case v_queue when 'voice_clone_verify' then 0 else v_delay end);
      end if;
    end loop;
  end loop;
  if new.version > coalesce((v_old -> 'version')::bigint, 0) then -- a renewed lease wakes nobody
    if new.reflection_id is not null and (new.is_active or (v_old -> 'is_active')::boolean) then
      perform pgmq.send('voice_mirror', voice_clone.message('mirror', new.reflection_id, new.version), 0);
    end if;
    perform pg_notify('voice_clone_wake', '');
  end if;
  return null;
end
$$;

-- Only what a reflection speaks with needs the runtime and a preview; a library voice is ready when enrolled.
create function voice_clone.is_wanted(p_queue text, p_attempt public.attempts) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return case p_queue
    when 'voice_runtime_sync' then p_attempt.is_active and p_attempt.reflection_id is not null
    when 'voice_preview' then p_attempt.is_active and p_attempt.preview_status = 'required'
    else true
  end;
end
$$;

create trigger attempts_record_event after insert or update on public.attempts
  for each row execute function voice_clone.record_event();

-- An attempt's row, rebuilt from its events alone.
create function voice_clone.replay(p_attempt uuid) returns public.attempts
language sql stable set search_path = ''
as $$
  select (jsonb_populate_record(null::public.attempts, state.changes)).*
  from (
    select jsonb_object_agg(c.key, c.value order by e.id) as changes
    from voice_clone.events e, jsonb_each(e.changes) c where e.attempt_id = p_attempt
  ) state
$$;
