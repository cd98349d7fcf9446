-- Opening and queueing: how an attempt is created, and how it becomes the active one.

-- Raises VC008 where the user made as many attempts in the last 24 hours as are allowed. Null is no limit.
create function voice_clone.require_daily_allowance(p_user uuid, p_per_day int) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_oldest timestamptz;
begin
  -- The attempt that must become a day old before the next may be made.
  select a.created_at into v_oldest from public.voice_clone_attempts a
  where a.user_id = p_user and a.created_at > now() - interval '24 hours' and a.source = 'sample'
  order by a.created_at desc offset greatest(p_per_day, 1) - 1 limit 1;
  if p_per_day is not null and found then
    raise exception '% attempts were made in the last 24 hours', p_per_day
      using errcode = 'VC008', hint = 'Make the next one after the time in Retry-After.',
        detail = jsonb_build_object('code', 'too_many_attempts', 'limit', p_per_day, 'window_seconds', 86400,
          'retry_after', ceil(extract(epoch from v_oldest + interval '24 hours' - now())))::text;
  end if;
end
$$;

-- Uploads of one user that are not finalized.
create function voice_clone.open_upload_limit() returns int
language plpgsql immutable set search_path = ''
as $$
begin
  return 5;
end
$$;

create function voice_clone.refuse_open_uploads(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  raise exception '% uploads are open already', voice_clone.open_upload_limit()
    using errcode = 'VC008', hint = 'Finalize one of them; the oldest one gives way after the time in Retry-After.',
      detail = jsonb_build_object('code', 'too_many_open_uploads', 'limit', voice_clone.open_upload_limit(), 'retry_after', (
        select greatest(1, ceil(extract(epoch from min(voice_clone.slot_reserved_until(a.id)) - now())))
        from voice_clone.enrolling_attempts n join public.voice_clone_attempts a on a.id = n.attempt_id
        where n.user_id = p_user and a.status = 'awaiting_upload'))::text;
end
$$;

-- An upload whose slot reservation ended gives way to a new one (make_room_for_upload), so only the others count.
create function voice_clone.check_open_uploads(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if (select count(*) from voice_clone.enrolling_attempts n join public.voice_clone_attempts a on a.id = n.attempt_id
      where n.user_id = p_user and a.status = 'awaiting_upload' and voice_clone.has_slot_reservation(a.id))
    >= voice_clone.open_upload_limit()
  then
    perform voice_clone.refuse_open_uploads(p_user);
  end if;
end
$$;

-- Whether this user may open an upload: what open_attempt requires and in its order, before anything is sent or decoded.
create function voice_clone.check_opening(
  p_user uuid, p_consent uuid, p_reflection uuid, p_per_day int, p_provider text, p_region text
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_reflection is not null and not exists (
    select from public.reflections r where r.id = p_reflection and r.user_id = p_user
  ) then
    raise exception 'there is no such reflection' using errcode = 'VC004', detail = '{"field": "reflection_id"}';
  end if;
  perform voice_clone.require_daily_allowance(p_user, p_per_day);
  perform voice_clone.check_open_uploads(p_user);
  perform voice_clone.check_sample_consent(p_consent, p_user, p_reflection);
  perform voice_clone.check_slot(p_provider, p_region); -- in open_attempt the attempt itself takes the slot
end
$$;

-- The upload that was left longest ago expires where there are as many as a user may have open. Skips what another
-- transaction works on.
create function voice_clone.make_room_for_upload(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if (select count(*) from voice_clone.enrolling_attempts n join public.voice_clone_attempts a on a.id = n.attempt_id
      where n.user_id = p_user and a.status = 'awaiting_upload') < voice_clone.open_upload_limit() then
    return;
  end if;
  update public.voice_clone_attempts x set status = 'expired'
  where x.id = (
    select a.id from voice_clone.enrolling_attempts n join public.voice_clone_attempts a on a.id = n.attempt_id
    where n.user_id = p_user and a.status = 'awaiting_upload'
      and not voice_clone.has_slot_reservation(a.id)
    order by a.created_at limit 1 for no key update of a skip locked);
  if not found then
    perform voice_clone.refuse_open_uploads(p_user);
  end if;
end
$$;

-- An attempt that waits for its upload. Activates nothing, so a working voice keeps working. With a name and a language the
-- object that arrives is finalized without a call (object_triggers.sql). The consent is checked with the sample (require_consent).
create function voice_clone.open_attempt(
  p_attempt uuid, p_user uuid, p_consent uuid, p_reflection uuid, p_provider text, p_region text,
  p_path text, p_content_type text, p_bytes bigint, p_preview_required boolean, p_per_day int default null,
  p_name text default null, p_language text default null, p_transcript text default null
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_sample uuid;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  if p_reflection is not null then
    perform voice_clone.keep_reflection(p_reflection, p_user);
  end if;
  perform pg_advisory_xact_lock(hashtextextended('open:' || p_user::text, 0));
  perform voice_clone.require_daily_allowance(p_user, p_per_day);
  perform voice_clone.make_room_for_upload(p_user);
  insert into public.voice_samples (user_id, consent_id, reflection_id, is_upload, path, content_type, bytes)
  values (p_user, p_consent, p_reflection, true, p_path, p_content_type, p_bytes)
  returning id into v_sample;
  return query
    insert into public.voice_clone_attempts (id, user_id, reflection_id, sample_id, source, provider, region, preview_status)
    values (p_attempt, p_user, p_reflection, v_sample, 'sample', p_provider, p_region,
            case when p_preview_required and p_reflection is not null then 'required' else 'not_required' end)
    returning *;
  if p_name is not null then
    update voice_clone.uploads u
    set name = p_name, language = p_language, transcript = p_transcript, sweep_at = now() + voice_clone.timeout('lost_message')
    where u.attempt_id = p_attempt;
  end if;
end
$$;

-- The sample is ready: queue the attempt, make it the active one, and supersede the one before. What its user says of the sample
-- is kept with it, unless that is known already. The message comes after p_delay_seconds, so that the caller may do the work
-- at once.
create function voice_clone.queue_attempt(
  p_attempt uuid, p_user uuid, p_name text, p_language text, p_transcript text, p_delay_seconds int
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
  perform voice_clone.lock_samples(array[v_attempt.sample_id]);
  perform voice_clone.cancel_attempts('superseded', p_reflection => v_attempt.reflection_id);
  update public.voice_samples s
  set language = coalesce(s.language, p_language), sweep_at = null,
      transcript = case when s.language is null then p_transcript else s.transcript end
  where s.id = v_attempt.sample_id and (s.language is null or s.sweep_at is not null);
  return query
    update public.voice_clone_attempts a
    set status = 'queued', is_active = true, name = p_name, language = p_language, error_code = null, error_message = null,
        not_before = now() + make_interval(secs => p_delay_seconds)
    where a.id = p_attempt
    returning *;
end
$$;

-- Raises VC008 where the user has as many unfinished attempts as is allowed. One opening at a time for a user.
create function voice_clone.check_unfinished_attempts(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  c_limit constant int := 20;
begin
  perform pg_advisory_xact_lock(hashtextextended('open:' || p_user::text, 0));
  if (select count(*) from voice_clone.enrolling_attempts n where n.user_id = p_user) >= c_limit then
    raise exception '% attempts are not finished yet', c_limit
      using errcode = 'VC008', detail = jsonb_build_object('code', 'too_many_open_uploads', 'limit', c_limit)::text,
            hint = 'Wait until one of them has ended; an upload that is not used expires after 24 hours.';
  end if;
end
$$;

-- Another attempt, queued at once, with a sample that passed inspection earlier. Without a reflection it is of the user's
-- library.
create function voice_clone.clone_sample(
  p_attempt uuid, p_user uuid, p_sample uuid, p_reflection uuid, p_provider text, p_region text,
  p_preview_required boolean, p_name text, p_per_day int default null
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_sample public.voice_samples;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  select * into v_sample from public.voice_samples s
  where s.id = p_sample and s.user_id = p_user and s.status = 'ready'
  for key share; -- its retention does not end meanwhile
  if not found then
    raise exception 'there is no such sample' using errcode = 'VC004', detail = '{"field": "sample_id"}';
  end if;
  perform voice_clone.lock_reflection(p_reflection, p_user) where p_reflection is not null;
  -- The consent that covered the sample must be valid today, for this reflection.
  perform voice_clone.check_consent(v_sample.consent_id, p_user, p_reflection);
  perform voice_clone.check_unfinished_attempts(p_user);
  perform voice_clone.require_daily_allowance(p_user, p_per_day);
  insert into public.voice_clone_attempts (id, user_id, reflection_id, sample_id, source, provider, region, preview_status)
  values (p_attempt, p_user, p_reflection, p_sample, 'sample', p_provider, p_region,
          case when p_preview_required and p_reflection is not null then 'required' else 'not_required' end);
  return query select * from voice_clone.queue_attempt(
    p_attempt, p_user, p_name, v_sample.language, v_sample.transcript, 0);
end
$$;

grant execute on function
  voice_clone.check_opening(uuid, uuid, uuid, int, text, text),
  voice_clone.open_attempt(uuid, uuid, uuid, uuid, text, text, text, text, bigint, boolean, int, text, text, text),
  voice_clone.queue_attempt(uuid, uuid, text, text, text, int),
  voice_clone.clone_sample(uuid, uuid, uuid, uuid, text, text, boolean, text, int)
to voice_clone_backend;
