-- Opening and queueing: how an attempt is created, and how it becomes the active one.

-- Refuses another attempt where the user has as many of these statuses as is allowed. One opening at a time for a user.
create function voice_clone.check_open_attempts(p_user uuid, p_statuses text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  c_limit constant int := 20;
begin
  perform pg_advisory_xact_lock(hashtextextended('open:' || p_user::text, 0));
  if (select count(*) from public.voice_clone_attempts a
      where a.user_id = p_user and a.is_enrolling and a.status = any(p_statuses)) >= c_limit then
    raise exception '% uploads are open already', c_limit
      using errcode = 'VC008', detail = '{"code": "too_many_open_uploads"}',
            hint = 'Finalize one of them; an upload that is not used expires after 24 hours.';
  end if;
end
$$;

-- An attempt that waits for its upload. Activates nothing, so a working voice keeps working.
create function voice_clone.open_attempt(
  p_attempt uuid, p_user uuid, p_consent uuid, p_reflection uuid, p_provider text, p_region text,
  p_path text, p_content_type text, p_bytes bigint, p_preview_required boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_sample uuid;
begin
  perform voice_clone.lock_consents_shared(p_user);
  perform voice_clone.keep_reflection(p_reflection, p_user) where p_reflection is not null;
  perform voice_clone.check_open_attempts(p_user, '{awaiting_upload}');
  insert into public.voice_samples (user_id, consent_id, reflection_id, path, content_type, bytes)
  values (p_user, p_consent, p_reflection, p_path, p_content_type, p_bytes)
  returning id into v_sample;
  return query
    insert into public.voice_clone_attempts (id, user_id, reflection_id, sample_id, source, provider, region, preview_status)
    values (p_attempt, p_user, p_reflection, v_sample, 'sample', p_provider, p_region,
            case when p_preview_required and p_reflection is not null then 'required' else 'not_required' end)
    returning *;
end
$$;

-- The sample passed inspection: queue the attempt, make it the active one, and supersede the one before.
-- The message comes after p_delay_seconds, so that the caller may do the work at once.
create function voice_clone.queue_attempt(
  p_attempt uuid, p_user uuid, p_name text, p_language text, p_transcript text,
  p_content_type text, p_bytes bigint, p_measures jsonb, p_prepared_path text, p_prepared_bytes bigint, p_delay_seconds int
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.voice_clone_attempts;
begin
  select * into v_attempt from public.voice_clone_attempts a where a.id = p_attempt and a.user_id = p_user;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004';
  end if;
  -- One queueing at a time for a reflection. Its attempts after it and by their ids, in the common lock order.
  perform from public.reflections r where r.id = v_attempt.reflection_id for no key update;
  -- A reflection that has another owner by now is refused (voice_clone_attempts_same_owner_again).
  perform from public.voice_clone_attempts a
  where a.id = p_attempt or (a.reflection_id = v_attempt.reflection_id and a.is_active) order by a.id for no key update;
  select * into v_attempt from public.voice_clone_attempts a where a.id = p_attempt;
  if v_attempt.status <> 'awaiting_upload' then
    raise exception 'attempt % awaits no upload: it is %', p_attempt, v_attempt.status using errcode = 'VC001',
      detail = jsonb_build_object('from', v_attempt.status, 'to', 'queued')::text;
  end if;
  perform voice_clone.cancel_attempts('superseded', p_reflection => v_attempt.reflection_id);
  update public.voice_samples s
  set language = p_language, transcript = p_transcript, content_type = p_content_type, bytes = p_bytes,
      measures = p_measures, prepared_path = p_prepared_path, prepared_bytes = p_prepared_bytes
  where s.id = v_attempt.sample_id and s.measures is null;
  return query
    update public.voice_clone_attempts a
    set status = 'queued', is_active = true, name = p_name, language = p_language,
        not_before = now() + make_interval(secs => p_delay_seconds)
    where a.id = p_attempt
    returning *;
end
$$;

-- Another attempt, queued at once, with a sample that passed inspection earlier.
create function voice_clone.clone_sample(
  p_attempt uuid, p_user uuid, p_sample uuid, p_reflection uuid, p_provider text, p_region text,
  p_preview_required boolean, p_name text
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_sample public.voice_samples;
begin
  perform voice_clone.lock_consents_shared(p_user);
  select * into v_sample from public.voice_samples s
  where s.id = p_sample and s.user_id = p_user and s.measures is not null and s.removed_at is null;
  if not found then
    raise exception 'there is no such sample' using errcode = 'VC004', detail = '{"field": "sample_id"}';
  end if;
  perform voice_clone.lock_consents_shared(p_user);
  perform voice_clone.lock_reflection(p_reflection, p_user);
  perform voice_clone.check_open_attempts(p_user, '{awaiting_upload,queued,processing,verifying}');
  -- The consent that covered the sample must be valid today, for this reflection.
  perform voice_clone.check_consent(v_sample.consent_id, p_user, p_reflection);
  insert into public.voice_clone_attempts (id, user_id, reflection_id, sample_id, source, provider, region, preview_status)
  values (p_attempt, p_user, p_reflection, p_sample, 'sample', p_provider, p_region,
          case when p_preview_required then 'required' else 'not_required' end);
  return query select * from voice_clone.queue_attempt(
    p_attempt, p_user, p_name, v_sample.language, v_sample.transcript, null, null, null, null, null, 0);
end
$$;

grant execute on function
  voice_clone.open_attempt(uuid, uuid, uuid, uuid, text, text, text, text, bigint, boolean),
  voice_clone.queue_attempt(uuid, uuid, text, text, text, text, bigint, jsonb, text, bigint, int),
  voice_clone.clone_sample(uuid, uuid, uuid, uuid, text, text, boolean, text)
to voice_clone_backend;
