-- Samples by themselves: stored before there is an attempt. One that its user keeps is inspected by the consumer; any other by the
-- call that stored it. Lock order: the user, consents, reflection, attempts by id, samples.

-- Raises VC008 where the user has as many unfinished samples as is allowed, or sent as many in the last 24 hours. Null is no
-- limit.
create function voice_clone.check_sample_limits(p_user uuid, p_open int, p_per_day int) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  c_storing constant interval := '5 minutes'; -- a call that has not stored its file by then was lost
  v_oldest timestamptz;
begin
  if (select count(*) from public.voice_samples s
      where s.user_id = p_user and not s.is_upload and s.created_at > now() - voice_clone.sample_wait() and (
          s.status in ('pending', 'processing')
          or s.status = 'awaiting_upload' and s.created_at > now() - c_storing)
        and not exists (select from public.voice_clone_attempts a where a.sample_id = s.id)) >= p_open then
    raise exception '% samples are not inspected yet', p_open
      using errcode = 'VC008', detail = jsonb_build_object('code', 'too_many_open_samples', 'limit', p_open, 'retry_after', 5)::text,
            hint = 'Wait until one of them is ready or failed.';
  end if;
  -- The sample that must become a day old before the next may be sent.
  select s.created_at into v_oldest from public.voice_samples s
  where s.user_id = p_user and s.created_at > now() - interval '24 hours' and s.is_kept
  order by s.created_at desc offset greatest(p_per_day, 1) - 1 limit 1;
  if p_per_day is not null and found then
    raise exception '% samples were sent in the last 24 hours', p_per_day
      using errcode = 'VC008', hint = 'Send the next one after the time in Retry-After.',
        detail = jsonb_build_object('code', 'too_many_new_samples', 'limit', p_per_day, 'window_seconds', 86400,
          'retry_after', ceil(extract(epoch from v_oldest + interval '24 hours' - now())))::text;
  end if;
end
$$;

-- The reflection that a consent is for; null where it is for every use by its user.
create function voice_clone.subject_of(p_consent uuid, p_user uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select c.subject_id from public.voice_consents c where c.id = p_consent and c.user_id = p_user
$$;

-- What add_sample requires, before a body is read further than its form. p_sample: the sample that is to be added; one that an
-- earlier call added counts against no limit.
create function voice_clone.check_sample(p_user uuid, p_consent uuid, p_open int, p_per_day int, p_sample uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.check_sample_consent(p_consent, p_user, voice_clone.subject_of(p_consent, p_user));
  if not exists (select from public.voice_samples s where s.id = p_sample and s.user_id = p_user) then
    perform voice_clone.check_sample_limits(p_user, p_open, p_per_day);
  end if;
end
$$;

-- A sample whose file is about to be stored. The same id again is the same sample.
create function voice_clone.add_sample(
  p_sample uuid, p_user uuid, p_consent uuid, p_reflection uuid, p_kept boolean, p_name text, p_language text, p_transcript text,
  p_path text, p_content_type text, p_bytes bigint, p_open int default null, p_per_day int default null
) returns setof public.voice_samples
language plpgsql security definer set search_path = ''
as $$
declare
  v_reflection uuid := coalesce(p_reflection, voice_clone.subject_of(p_consent, p_user));
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  perform voice_clone.keep_reflection(v_reflection, p_user) where v_reflection is not null;
  perform pg_advisory_xact_lock(hashtextextended('samples:' || p_user::text, 0));
  return query select * from public.voice_samples s where s.id = p_sample and s.user_id = p_user;
  if found then
    return;
  end if;
  perform voice_clone.check_sample_consent(p_consent, p_user, v_reflection);
  perform voice_clone.check_sample_limits(p_user, p_open, p_per_day);
  return query
    insert into public.voice_samples (
      id, user_id, consent_id, reflection_id, is_kept, name, language, transcript, path, content_type, bytes)
    values (p_sample, p_user, p_consent, v_reflection, p_kept, p_name, p_language, p_transcript, p_path, p_content_type, p_bytes)
    returning *;
end
$$;

-- The file of a kept sample is in Storage: the consumer may inspect it. A second call changes nothing. VC001 where the sample is
-- removed by now.
create function voice_clone.receive_sample(p_sample uuid, p_user uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples;
begin
  select * into s from public.voice_samples x where x.id = p_sample and x.user_id = p_user for no key update;
  if not found then
    raise exception 'there is no such sample' using errcode = 'VC004', detail = '{"field": "sample_id"}';
  elsif not s.is_kept or s.status = 'removed' then
    raise exception 'sample % awaits no file: it is %', p_sample, s.status using errcode = 'VC001',
      detail = jsonb_build_object('from', s.status, 'to', 'pending')::text;
  elsif s.status = 'awaiting_upload' then
    update public.voice_samples x set status = 'pending' where x.id = p_sample;
    return 'pending';
  end if;
  return s.status;
end
$$;

-- Removes a sample with its files. VC007 while a voice speaks that was made of it, or an attempt is about to make one; an attempt
-- with it that failed can not be retried any more, and is cancelled. False where there is no such sample.
create function voice_clone.delete_sample(p_sample uuid, p_user uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempts uuid[];
  v_voices uuid[];
begin
  perform voice_clone.lock_consents(p_user);
  perform from public.voice_samples s where s.id = p_sample and s.user_id = p_user and s.status <> 'removed';
  if not found then
    return false;
  end if;
  v_attempts := voice_clone.lock_attempts(array(select a.id from public.voice_clone_attempts a where a.sample_id = p_sample));
  perform voice_clone.lock_samples(array[p_sample]);
  v_voices := array(select v.id from public.voices v where v.attempt_id = any (v_attempts) and v.deleted_at is null);
  if v_voices <> '{}' or exists (
    select from public.voice_clone_attempts a
    where a.id = any (v_attempts) and a.status in ('awaiting_upload', 'queued', 'processing', 'verifying', 'ready')
  ) then
    raise exception 'this sample is in use' using errcode = 'VC007',
      detail = jsonb_build_object('code', 'sample_in_use', 'field', 'sample_id', 'voices', v_voices)::text,
      hint = 'Delete the voices that were made of it first, or wait until the attempt that uses it has ended.';
  end if;
  perform voice_clone.cancel_attempts('sample_deleted', p_attempts => v_attempts);
  perform voice_clone.remove_samples(array[p_sample], true);
  return true;
end
$$;

-- One sample that is due, locked by the caller. Returns what was done.
create function voice_clone.sweep_sample(s public.voice_samples) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_lost boolean := s.lease_expires_at <= now();
begin
  if s.status = 'processing' and (v_lost or s.leased_at + voice_clone.timeout('step') <= now()) then
    return voice_clone.requeue_or_fail_sample(
      s, case when v_lost then 'worker_lost' else 'deadline_exceeded' end, null, 0, 'crash');
  elsif s.status in ('awaiting_upload', 'ready') then -- nothing used it in time; what an attempt uses stays
    perform voice_clone.remove_samples(array[s.id], s.status = 'awaiting_upload');
    update public.voice_samples x set sweep_at = null where x.id = s.id and x.sweep_at <= now();
    return 'compared';
  end if;
  update public.voice_samples x set sweep_at = voice_clone.sample_sweep_at(s) where x.id = s.id;
  if s.status = 'pending' then
    perform voice_clone.send_messages(
      'voice_samples', array[voice_clone.queue_message('voice_samples', s.id, 1, null)], 0);
    return 'sent';
  end if;
  return 'postponed'; -- a lease that was renewed
end
$$;

-- The part of the sweep that moves samples on, at most p_limit. Returns how many were due; one with an error is postponed.
create function voice_clone.sweep_samples(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples;
  v_count int := 0;
begin
  for s in
    select * from public.voice_samples x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors e where e.row_id = x.id and e.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    v_count := v_count + 1;
    begin
      perform voice_clone.sweep_sample(s);
    exception when others then
      perform voice_clone.postpone_row('sample', s.id, sqlerrm, sqlstate);
    end;
  end loop;
  return v_count;
end
$$;

grant execute on function
  voice_clone.check_sample(uuid, uuid, int, int, uuid),
  voice_clone.add_sample(uuid, uuid, uuid, uuid, boolean, text, text, text, text, text, bigint, int, int),
  voice_clone.receive_sample(uuid, uuid),
  voice_clone.delete_sample(uuid, uuid)
to voice_clone_backend;
