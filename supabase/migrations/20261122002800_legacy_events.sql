-- Legacy events: requests of an earlier system's outbox and webhooks, each decided once.
--
-- An event is stored before it is handled, and never deleted: a refused or skipped one has its reason.

create table voice_clone.legacy_events (
  id uuid primary key default gen_random_uuid(),
  source text not null check (source in ('voice_clone_outbox', 'conversation_ended')),
  event_id text not null check (length(event_id) between 1 and 255),
  reflection_id uuid not null,
  payload jsonb not null,
  outcome text not null default 'received' check (outcome in ('received', 'accepted', 'refused', 'skipped')),
  code text,
  message text,
  attempt_id uuid references public.voice_clone_attempts (id),
  received_at timestamptz not null default now(),
  decided_at timestamptz,
  unique (source, event_id),
  check ((outcome = 'accepted') = (attempt_id is not null)),
  check ((outcome in ('refused', 'skipped')) = (code is not null and message is not null))
);
comment on column voice_clone.legacy_events.id is 'also the id of the attempt that it becomes';
comment on column voice_clone.legacy_events.reflection_id is
  'as the event says it, so without a reference: a reflection may be gone';
create index legacy_events_outcome_idx on voice_clone.legacy_events (outcome, received_at) where outcome <> 'accepted';
alter table voice_clone.legacy_events enable row level security;
revoke all on voice_clone.legacy_events from public, anon, authenticated, service_role;

-- What the service needs to continue with an event, besides the event itself.
create type voice_clone.legacy_decision as (
  id uuid, outcome text, code text, message text, attempt_id uuid, user_id uuid, reflection_name text, consent_id uuid
);

-- The newest valid consent that covers a reflection's voice.
create function voice_clone.consent_for(p_user uuid, p_reflection uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select c.id from public.voice_consents c
  where c.user_id = p_user and c.revokes is null
    and (c.subject_kind = 'self' or c.subject_id = p_reflection)
    and not exists (select from public.voice_consents r where r.revokes = c.id)
  order by c.position desc limit 1
$$;

-- What is decided about a reflection's events stays true until the transaction ends. Before any event is locked: an erasure
-- clears the events of the reflections that it has locked.
create function voice_clone.lock_for_legacy_event(p_reflection uuid) returns public.reflections
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner uuid;
  r public.reflections;
begin
  loop
    v_owner := (select x.user_id from public.reflections x where x.id = p_reflection);
    perform voice_clone.lock_user(v_owner);
    perform voice_clone.lock_consents_shared(v_owner);
    begin
      select * into r from public.reflections x where x.id = p_reflection for no key update;
      if r.user_id is distinct from v_owner then
        raise no_data_found using message = 'the reflection has another owner by now';
      end if;
      return r;
    exception when no_data_found then
      null; -- it has another owner since, or is gone. Its lock is given back, because the new owner's consents come before it
    end;
  end loop;
end
$$;

-- Evaluates an event without its recording. Accepted and skipped are final; a refused event is evaluated again each time
-- it is received.
create function voice_clone.evaluate_legacy_event(p_event uuid) returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_reflection uuid := (select x.reflection_id from voice_clone.legacy_events x where x.id = p_event);
  r public.reflections := voice_clone.lock_for_legacy_event(v_reflection);
  e voice_clone.legacy_events;
  v_consent uuid;
begin
  select * into e from voice_clone.legacy_events x where x.id = p_event for update;
  if e.outcome in ('accepted', 'skipped') then
    return (e.id, e.outcome, e.code, e.message, e.attempt_id, null, null, null)::voice_clone.legacy_decision;
  elsif e.reflection_id <> v_reflection then
    raise exception 'the event names another reflection since this call began' using errcode = 'serialization_failure';
  end if;
  v_consent := voice_clone.consent_for(r.user_id, r.id);
  if r.id is null then
    return voice_clone.decide_legacy_event(e.id, 'refused', 'reflection_not_found', 'There is no such reflection.');
  elsif exists (select from public.voice_clone_attempts a where a.reflection_id = r.id and a.is_active) then
    return voice_clone.decide_legacy_event(
      e.id, 'skipped', 'attempt_active', 'The reflection has an active attempt, which continues.');
  elsif jsonb_typeof(e.payload -> 'recording') is distinct from 'object' then
    return voice_clone.decide_legacy_event(e.id, 'skipped', 'no_recording', 'The event has no recording to clone.');
  elsif v_consent is null then
    return voice_clone.decide_legacy_event(
      e.id, 'refused', 'consent_required', 'Its owner has not consented to a clone of this voice, or has revoked it.');
  end if;
  return (e.id, 'received', null, null, null, r.user_id, voice_clone.reflection_name(r), v_consent)::voice_clone.legacy_decision;
end
$$;

create function voice_clone.decide_legacy_event(p_event uuid, p_outcome text, p_error_code text, p_error_message text)
returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.legacy_events e
  set outcome = p_outcome, code = p_error_code, message = p_error_message, decided_at = now()
  where e.id = p_event and e.outcome in ('received', 'refused');
  return (p_event, p_outcome, p_error_code, p_error_message, null, null, null, null)::voice_clone.legacy_decision;
end
$$;

-- Stores an event and evaluates it without its recording. `received`: continue with the recording.
create function voice_clone.receive_legacy_event(p_source text, p_event_id text, p_reflection uuid, p_payload jsonb)
returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  perform voice_clone.lock_for_legacy_event(p_reflection);
  insert into voice_clone.legacy_events as e (source, event_id, reflection_id, payload)
  values (p_source, p_event_id, p_reflection, p_payload)
  on conflict (source, event_id) do update
    set payload = excluded.payload, reflection_id = excluded.reflection_id
    where e.outcome in ('received', 'refused');
  select e.id into v_id from voice_clone.legacy_events e where e.source = p_source and e.event_id = p_event_id;
  return voice_clone.evaluate_legacy_event(v_id);
end
$$;

-- The recording cannot be used. A decision that was made meanwhile stays.
create function voice_clone.refuse_legacy_event(p_event uuid, p_error_code text, p_error_message text)
returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_decision voice_clone.legacy_decision := voice_clone.evaluate_legacy_event(p_event);
begin
  if v_decision.outcome <> 'received' then
    return v_decision;
  end if;
  return voice_clone.decide_legacy_event(p_event, 'refused', p_error_code, p_error_message);
end
$$;

-- The recording passed inspection: a queued attempt with its sample, unless the event is refused or skipped by now. Then the
-- sample is removed.
create function voice_clone.accept_legacy_event(
  p_event uuid, p_sample uuid, p_provider text, p_region text, p_name text, p_preview_required boolean
) returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_decision voice_clone.legacy_decision := voice_clone.evaluate_legacy_event(p_event);
  s public.voice_samples;
begin
  select * into s from public.voice_samples x where x.id = p_sample;
  if v_decision.outcome = 'received' and s.user_id <> v_decision.user_id then -- the reflection has another owner since its recording was read
    v_decision := voice_clone.decide_legacy_event(
      p_event, 'refused', 'recording_not_owned', 'The recording does not lie in a folder of the reflection''s owner.');
  end if;
  if v_decision.outcome <> 'received' then
    perform voice_clone.remove_samples(array[p_sample]); -- not that of the attempt which the event has become
    return v_decision;
  end if;
  insert into public.voice_clone_attempts (id, user_id, reflection_id, sample_id, source, provider, region, preview_status)
  select p_event, v_decision.user_id, e.reflection_id, s.id, 'legacy_outbox', p_provider, p_region,
    case when p_preview_required then 'required' else 'not_required' end
  from voice_clone.legacy_events e where e.id = p_event;
  -- Supersedes nothing: the reflection is locked, and has no active attempt.
  perform voice_clone.queue_attempt(p_event, v_decision.user_id, p_name, s.language, s.transcript, 0);
  update voice_clone.legacy_events e
  set outcome = 'accepted', attempt_id = p_event, code = null, message = null, decided_at = now()
  where e.id = p_event;
  v_decision.outcome := 'accepted';
  v_decision.attempt_id := p_event;
  return v_decision;
end
$$;

-- For operators: the events with one outcome, and their payload, to send them again once the reason is gone.
create function operations.legacy_events(p_outcome text)
returns table (
  source text, event_id text, reflection_id uuid, payload jsonb, outcome text, code text, message text,
  attempt_id uuid, received_at timestamptz, decided_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select e.source, e.event_id, e.reflection_id, e.payload, e.outcome, e.code, e.message,
    e.attempt_id, e.received_at, e.decided_at
  from voice_clone.legacy_events e where e.outcome = p_outcome order by e.received_at
$$;

grant execute on function
  voice_clone.receive_legacy_event(text, text, uuid, jsonb),
  voice_clone.refuse_legacy_event(uuid, text, text),
  voice_clone.accept_legacy_event(uuid, uuid, text, text, text, boolean)
to voice_clone_backend;
grant execute on function operations.legacy_events(text) to service_role;
