-- Removing recordings: the object of an employee may be there again when its removal comes. What was received before the request
-- goes, what came after it stays. Lock order: the employee's lock, recordings, the removal.

-- What was received until now is not stored any more, whatever its state: a worker loses its lease.
create function voice_clone.supersede_recordings(p_employee uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_recordings_of(p_employee);
  perform from voice_clone.recordings r where r.employee_id = p_employee order by r.id for no key update;
  update voice_clone.recordings r set status = 'superseded', not_before = null, waiting_since = null
  where r.employee_id = p_employee and r.status in ('pending', 'processing', 'stored');
end
$$;

-- Whether the object is to be removed now. A newer recording ends the removal; one that a worker is storing puts it off.
create function voice_clone.may_remove_recording(p_removal voice_clone.object_removals) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_employee uuid := p_removal.folder::uuid;
  r voice_clone.object_removals;
begin
  perform voice_clone.lock_recordings_of(v_employee);
  select * into r from voice_clone.object_removals x where x.id = p_removal.id for no key update;
  if exists (select from voice_clone.recordings x where x.employee_id = v_employee and x.status = 'stored')
    or voice_clone.is_recording_of_application(v_employee, r.requested_at)
  then
    delete from voice_clone.object_removals x where x.id = r.id;
    return false;
  end if;
  return r.id is not null and not exists (
    select from voice_clone.recordings x
    where x.employee_id = v_employee and x.status = 'processing' and x.lease_expires_at > now());
end
$$;

-- Whether the application stored the object itself after this time. Where a worker of ours stored one, a late one may have.
create function voice_clone.is_recording_of_application(p_employee uuid, p_after timestamptz) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (
      select from storage.objects o
      where o.bucket_id = 'recordings' and o.name = p_employee || '/' || p_employee || '.wav' and o.updated_at > p_after)
    and exists (select from public.employees e where e.id = p_employee)
    and not exists (select from voice_clone.recordings x where x.employee_id = p_employee and x.lease_epoch > 0);
end
$$;

-- Whether a removal of the object is under way: its request may come after that of a worker. Null, or until when.
create function voice_clone.recording_removed_until(p_employee uuid) returns timestamptz
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (
    select r.busy_until from voice_clone.object_removals r
    where r.bucket = 'recordings' and r.folder = p_employee::text and r.busy_until > now());
end
$$;

-- A worker lost its lease and has stored the object nevertheless. What is stored of the employee, or will be, is not touched.
create function voice_clone.remove_late_recording(p_employee uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_recordings_of(p_employee);
  perform voice_clone.request_object_removal('recordings', p_employee::text)
  where not exists (
    select from voice_clone.recordings r where r.employee_id = p_employee and r.status in ('pending', 'processing', 'stored'));
end
$$;
grant execute on function voice_clone.remove_late_recording(uuid) to voice_clone_backend;
