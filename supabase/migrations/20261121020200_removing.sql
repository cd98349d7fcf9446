-- Removing: the steps of one clean-up. What is begun here is committed before the provider is asked, and what is
-- ended here is written only while it is still true.

-- What there is to do: look_up (the label of an open outcome), remove, check (whether a removal that was begun
-- before took place), or nothing, with the reason.
create function voice_clone.begin_cleanup(p_enrollment uuid)
returns table (task text, reason text, provider text, region text, label text, provider_voice_id text, settles_in_seconds float8)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  e voice_clone.enrollments := voice_clone.lock_enrollment(p_enrollment);
begin
  task := 'nothing';
  if e.status in ('intended', 'unknown') then
    if voice_clone.is_worked_on(e.attempt_id) then
      reason := 'worked_on';
    elsif e.provider_voice_id is not null then -- reported, while there was still somebody to take it
      update voice_clone.enrollments x set status = 'orphaned' where x.id = e.id;
      reason := 'orphaned';
    else
      task := 'look_up';
    end if;
  elsif e.status = 'orphaned' and voice_clone.cleanup_time(e) > now() then
    reason := 'in_grace';
  elsif e.status = 'orphaned' and voice_clone.is_owned(e) then
    reason := 'owned';
  elsif e.status = 'orphaned' then
    update voice_clone.enrollments x set status = 'removing' where x.id = e.id;
    task := 'remove';
  elsif e.status = 'removing' then
    task := 'check';
  else
    reason := e.status;
  end if;
  return query select
    begin_cleanup.task, begin_cleanup.reason, e.provider, e.region, e.label, e.provider_voice_id,
    extract(epoch from e.settles_at - now())::float8;
end
$$;

-- The voice was found under its label (orphaned), will never appear (closed), or is gone (removed). Nothing
-- changes where somebody was faster, or took the attempt up again. The status from now on.
create function voice_clone.end_cleanup(
  p_enrollment uuid, p_status text, p_voice text, p_target_model text, p_archive bigint
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments := voice_clone.lock_enrollment(p_enrollment);
  v_holds boolean := case p_status
    when 'removed' then e.status = 'removing'
    when 'orphaned' then e.status in ('intended', 'unknown') and not voice_clone.is_worked_on(e.attempt_id)
    when 'closed' then e.status in ('intended', 'unknown') and not voice_clone.is_worked_on(e.attempt_id)
      and e.settles_at <= now()
  end;
begin
  perform voice_clone.archive_messages('voice_cleanup', array[p_archive]) where p_archive is not null;
  if v_holds then
    update voice_clone.enrollments x
    set status = p_status, provider_voice_id = coalesce(x.provider_voice_id, p_voice),
        target_model = coalesce(x.target_model, p_target_model),
        error_code = case p_status when 'closed' then 'never_made' else x.error_code end
    where x.id = e.id
    returning x.status into e.status;
  end if;
  return e.status;
end
$$;

-- A voice that is being removed, or was, can be nobody's: whoever is faster, the other sees it.
create function voice_clone.guard_voice() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
begin
  select e.status into v_status from voice_clone.enrollments e
  where e.provider = new.provider and e.region = new.region and e.provider_voice_id = new.provider_voice_id
  for share;
  if v_status in ('removing', 'removed') then
    raise exception 'this voice is being removed at its provider'
      using errcode = 'VC007', detail = '{"code": "voice_removed"}', hint = 'Record a new sample.';
  end if;
  return new;
end
$$;
create trigger voices_guard before insert on public.voices for each row execute function voice_clone.guard_voice();

grant execute on function
  voice_clone.begin_cleanup(uuid), voice_clone.end_cleanup(uuid, text, text, text, bigint)
to voice_clone_backend;
