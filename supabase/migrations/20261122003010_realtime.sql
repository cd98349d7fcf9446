-- Realtime: each transition is broadcast to a private topic of the attempt's owner, where the project has Supabase Realtime. What
-- broadcasts is a trigger that is there only where realtime.send is, so that a transition looks for nothing and pays for nothing
-- elsewhere.

-- A kind before the id: the id of an organization is chosen by who creates it, and may be that of a user.
create function voice_clone.realtime_topic(p_user uuid, p_org uuid) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when p_org is not null then 'voice_clone:organization:' || p_org
    when p_user is not null then 'voice_clone:user:' || p_user
  end;
end
$$;

-- The topics that the caller may receive. Definer, for the policy of a table that is not ours.
create function voice_clone.received_topics() returns setof text
language plpgsql stable security definer set search_path = '' rows 10
as $$
begin
  return query
    select voice_clone.realtime_topic(auth.uid(), null) where auth.uid() is not null
    union all
    select voice_clone.realtime_topic(null, o) from voice_clone.member_organizations() o;
end
$$;

-- What an owner reads of an event: as in the event stream, with the event's id.
create function voice_clone.public_event(e voice_clone.events) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object('event_id', e.id, 'attempt_id', e.attempt_id, 'version', e.version, 'events', e.events,
    'changes', voice_clone.public_changes(e), 'recorded_at', voice_clone.utc_text(e.recorded_at));
end
$$;

-- After an event, in its transaction. Realtime inserts a row, so a transaction that is rolled back broadcasts nothing. No failure of
-- Realtime is one of the transition: it is logged, and the client reads the state. A lock on its tables is waited for at most 0.2 seconds.
create function voice_clone.broadcast_event() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms'
as $$
declare
  v_topic text;
begin
  select voice_clone.realtime_topic(a.user_id, a.org_id) into v_topic from public.voice_clone_attempts a where a.id = new.attempt_id;
  if v_topic is not null then
    perform realtime.send(voice_clone.public_event(new), 'voice_clone_attempt.changed', v_topic, true);
  end if;
  return null;
exception when others then
  raise warning 'attempt %: a transition was not broadcast: % %', new.attempt_id, sqlstate, sqlerrm;
  return null;
end
$$;

-- For operators, where Realtime came after these migrations. Returns enabled, or unavailable where there is no realtime.send. By the
-- owner of the schema only, because it creates a trigger and a policy.
create function operations.enable_realtime() returns text
language plpgsql set search_path = ''
as $$
begin
  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null or to_regclass('realtime.messages') is null
    or to_regprocedure('realtime.topic()') is null
  then
    return 'unavailable';
  end if;
  execute 'drop policy if exists "Owners receive the transitions of their attempts" on realtime.messages';
  execute $policy$
    create policy "Owners receive the transitions of their attempts" on realtime.messages for select to authenticated using (
      extension = 'broadcast' and (select realtime.topic()) = any (array(select voice_clone.received_topics())))
  $policy$;
  create or replace trigger events_broadcast after insert on voice_clone.events
    for each row when (new.events <> '{verification_pending}') execute function voice_clone.broadcast_event();
  if to_regclass('voice_clone.installation') is not null then -- else a later migration records all parts
    insert into voice_clone.installation (part)
    select p from voice_clone.installed_parts() p where p ~ '(events_broadcast|realtime\.messages)'
    on conflict do nothing;
  end if;
  return 'enabled';
end
$$;

-- For operators: transitions are not broadcast any more.
create function operations.disable_realtime() returns void
language plpgsql set search_path = ''
as $$
begin
  execute 'drop trigger if exists events_broadcast on voice_clone.events';
  if to_regclass('realtime.messages') is not null then
    execute 'drop policy if exists "Owners receive the transitions of their attempts" on realtime.messages';
  end if;
  delete from voice_clone.installation where part ~ '(events_broadcast|realtime\.messages)';
end
$$;

grant execute on function voice_clone.received_topics() to authenticated;

do $$
begin
  perform operations.enable_realtime();
exception when insufficient_privilege then
  raise notice 'Realtime is not enabled: %. Call operations.enable_realtime() as a role that may add a policy there.', sqlerrm;
end
$$;
