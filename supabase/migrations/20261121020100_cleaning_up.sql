-- Cleaning up: outcomes that nobody resolves any more are looked up, and orphans are removed at the provider.
-- The sweep sends the messages; a clean-up is safe to run twice, and late.

-- A worker holds the attempt or will: it resolves an open outcome itself.
create function voice_clone.is_worked_on(p_attempt uuid) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (
    select from public.attempts a where a.id = p_attempt and a.is_active and a.status in ('queued', 'processing'));
end
$$;

-- A row speaks with this voice, or will: it is no orphan, whatever its enrollment says.
create function voice_clone.is_owned(e voice_clone.enrollments) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (
    select from public.voices v
    where v.provider = e.provider and v.region = e.region and v.provider_voice_id = e.provider_voice_id
  ) or exists (
    select from public.attempts a
    where a.id = e.attempt_id and a.provider_voice_id = e.provider_voice_id and a.status in ('verifying', 'ready'));
end
$$;
create index voices_provider_voice_id_idx on public.voices (provider_voice_id);

-- A message for each enrollment that is due, at most p_limit, and how many were. The next look is twice as far
-- away each time. What a worker has in hand is left to it.
create function voice_clone.sweep_enrollments(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
  v_messages jsonb[] := '{}';
  v_count int := 0;
begin
  for e in
    select * from voice_clone.enrollments x where x.sweep_at <= now()
    order by x.sweep_at limit p_limit
    for no key update skip locked
  loop
    v_count := v_count + 1;
    if e.status not in ('intended', 'unknown') or not voice_clone.is_worked_on(e.attempt_id) then
      v_messages := v_messages || voice_clone.message('swept', e.id, 1);
    end if;
    update voice_clone.enrollments x
    set sweep_at = now() + least(
      greatest(voice_clone.time_of('lost_message'), now() - voice_clone.cleanup_time(e)),
      voice_clone.time_of('lost_message_cap'))
    where x.id = e.id;
  end loop;
  perform voice_clone.send_messages('voice_cleanup', v_messages);
  return v_count;
end
$$;

-- Locks an enrollment and its attempt, in the order of every other writer.
create function voice_clone.lock_enrollment(p_enrollment uuid) returns voice_clone.enrollments
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  perform from public.attempts a
  where a.id = (select x.attempt_id from voice_clone.enrollments x where x.id = p_enrollment) for no key update;
  select * into e from voice_clone.enrollments x where x.id = p_enrollment for no key update;
  if not found then
    raise exception 'there is no enrollment %', p_enrollment using errcode = 'VC004';
  end if;
  return e;
end
$$;

grant execute on function voice_clone.sweep_enrollments(int) to voice_clone_backend;
