-- Legacy attempts: how an event becomes one, with its recording as the sample.

-- Keeps an event and decides what can be decided without its recording. `received`: go on with the recording.
create function voice_clone.receive_legacy_event(p_source text, p_event text, p_reflection uuid, p_payload jsonb)
returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  insert into voice_clone.legacy_events as e (source, event_id, reflection_id, payload)
  values (p_source, p_event, p_reflection, p_payload)
  on conflict (source, event_id) do update
    set payload = excluded.payload, reflection_id = excluded.reflection_id
    where e.outcome in ('received', 'refused');
  select e.id into v_id from voice_clone.legacy_events e where e.source = p_source and e.event_id = p_event;
  return voice_clone.judge_legacy_event(v_id);
end
$$;

-- The recording cannot be used. Whoever decided meanwhile stands.
create function voice_clone.refuse_legacy_event(p_event uuid, p_code text, p_message text)
returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_decision voice_clone.legacy_decision := voice_clone.judge_legacy_event(p_event);
begin
  if v_decision.outcome <> 'received' then
    return v_decision;
  end if;
  return voice_clone.decide_legacy_event(p_event, 'refused', p_code, p_message);
end
$$;

-- The recording passed inspection: a queued attempt, unless something speaks against it by now.
create function voice_clone.accept_legacy_event(
  p_event uuid, p_provider text, p_region text, p_name text, p_language text, p_transcript text,
  p_path text, p_content_type text, p_bytes bigint, p_measures jsonb, p_prepared_path text, p_prepared_bytes bigint,
  p_preview_required boolean
) returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  v_decision voice_clone.legacy_decision := voice_clone.judge_legacy_event(p_event);
  v_reflection uuid;
  v_sample uuid;
begin
  if v_decision.outcome <> 'received' then
    return v_decision;
  end if;
  select e.reflection_id into v_reflection from voice_clone.legacy_events e where e.id = p_event;
  insert into public.samples (user_id, consent_id, reflection_id, path, content_type, bytes)
  values (v_decision.user_id, v_decision.consent_id, v_reflection, p_path, p_content_type, p_bytes)
  returning id into v_sample;
  insert into public.attempts (id, user_id, reflection_id, sample_id, source, provider, region, preview_status)
  values (p_event, v_decision.user_id, v_reflection, v_sample, 'legacy_outbox', p_provider, p_region,
          case when p_preview_required then 'required' else 'not_required' end);
  -- Supersedes nothing: the reflection is locked, and has no active attempt.
  perform voice_clone.queue_attempt(
    p_event, v_decision.user_id, p_name, p_language, p_transcript,
    p_content_type, p_bytes, p_measures, p_prepared_path, p_prepared_bytes, 0);
  update voice_clone.legacy_events e
  set outcome = 'accepted', attempt_id = p_event, code = null, message = null, decided_at = now()
  where e.id = p_event;
  v_decision.outcome := 'accepted';
  v_decision.attempt_id := p_event;
  return v_decision;
end
$$;

-- For operators: what became of the events, and with the payload what to send again once its reason is gone.
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
  voice_clone.accept_legacy_event(
    uuid, text, text, text, text, text, text, text, bigint, jsonb, text, bigint, boolean)
to voice_clone_backend;
grant execute on function operations.legacy_events(text) to service_role;
