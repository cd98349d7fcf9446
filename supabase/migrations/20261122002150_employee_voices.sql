-- Voices of employees: an admin clones a recording of an employee who consented. The attempt is the organization's, and like any other
-- from then on. Lock order: consents, employee, attempts by id, samples, voices, enrollments.

-- Raises VC008 where the organization has as many unfinished attempts as is allowed, or made as many in the last 24 hours.
create function voice_clone.check_organization_limits(p_org uuid, p_per_day int) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  c_unfinished constant int := 20;
  v_oldest timestamptz;
begin
  perform pg_advisory_xact_lock(hashtextextended('open:' || p_org::text, 0));
  if (select count(*) from voice_clone.enrolling_attempts n where n.org_id = p_org) >= c_unfinished then
    raise exception '% attempts of the organization are not finished yet', c_unfinished
      using errcode = 'VC008', detail = jsonb_build_object('code', 'too_many_attempts', 'limit', c_unfinished, 'retry_after', 5)::text,
        hint = 'Wait until one of them has ended.';
  end if;
  select a.created_at into v_oldest from public.voice_clone_attempts a
  where a.org_id = p_org and a.created_at > now() - interval '24 hours' and a.source = 'recording'
  order by a.created_at desc offset greatest(p_per_day, 1) - 1 limit 1;
  if p_per_day is not null and found then
    raise exception '% attempts of the organization were made in the last 24 hours', p_per_day
      using errcode = 'VC008', hint = 'Make the next one after the time in Retry-After.',
        detail = jsonb_build_object('code', 'too_many_attempts', 'limit', p_per_day, 'window_seconds', 86400,
          'retry_after', ceil(extract(epoch from v_oldest + interval '24 hours' - now())))::text;
  end if;
end
$$;

-- The organization of an employee whom this user may clone. Without a user, the organization asked for it.
create function voice_clone.require_cloner(p_employee uuid, p_user uuid) returns uuid
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_org uuid;
begin
  if p_user is not null then
    return voice_clone.require_employee(p_employee, p_user, true);
  end if;
  select e.org_id into v_org
  from public.employees e join public.organizations o on o.id = e.org_id and o.clone_recordings where e.id = p_employee;
  if v_org is null then
    raise exception 'the organization does not have its recordings cloned' using errcode = 'VC009';
  end if;
  return v_org;
end
$$;

-- What a clone needs, before a recording is read: an admin, a consent of the employee, the limits. Returns the consent.
create function voice_clone.check_employee_clone(p_employee uuid, p_user uuid, p_per_day int) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_org uuid := voice_clone.require_cloner(p_employee, p_user);
  v_consent uuid;
begin
  perform voice_clone.lock_consents_shared(p_employee);
  select c into v_consent from voice_clone.employee_consents(p_employee) c limit 1;
  perform voice_clone.check_employee_consent(v_consent, p_employee);
  perform voice_clone.check_organization_limits(v_org, p_per_day);
  return v_consent;
end
$$;

-- The copy of a recording that is about to be stored and inspected. The same id again is the same sample.
create function voice_clone.add_recording(
  p_sample uuid, p_employee uuid, p_user uuid, p_language text, p_path text, p_content_type text, p_bytes bigint, p_per_day int
) returns setof public.voice_samples
language plpgsql security definer set search_path = ''
as $$
declare
  v_consent uuid := voice_clone.check_employee_clone(p_employee, p_user, p_per_day);
begin
  perform from public.employees e where e.id = p_employee for key share;
  return query select * from public.voice_samples s where s.id = p_sample and s.employee_id = p_employee;
  if not found then
    return query
      insert into public.voice_samples (id, employee_id, consent_id, language, path, content_type, bytes)
      values (p_sample, p_employee, v_consent, p_language, p_path, p_content_type, p_bytes)
      returning *;
  end if;
end
$$;

-- The recording was refused, or the call that read it failed: nothing of it stays.
create function voice_clone.drop_recording(p_sample uuid, p_employee uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.remove_samples(array[s.id]) from public.voice_samples s where s.id = p_sample and s.employee_id = p_employee;
end
$$;

-- An attempt of an employee with a sample that is ready, just inserted, is queued; it supersedes the one before. Its name says nothing
-- of the person. The caller has locked the employee.
create function voice_clone.queue_employee_attempt(p_attempt uuid, s public.voice_samples) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_former uuid[] := array(
    select a.id from public.voice_clone_attempts a where a.employee_id = s.employee_id and a.is_active);
begin
  perform voice_clone.lock_attempts(v_former || p_attempt);
  perform voice_clone.lock_samples(array[s.id]);
  perform voice_clone.cancel_attempts('superseded', p_attempts => v_former);
  return query
    update public.voice_clone_attempts a
    set status = 'queued', is_active = true, name = 'Employee voice', language = s.language, not_before = now()
    where a.id = p_attempt
    returning *;
end
$$;

-- An attempt with an inspected recording, queued at once.
create function voice_clone.clone_recording(
  p_attempt uuid, p_sample uuid, p_employee uuid, p_user uuid, p_provider text, p_region text, p_preview_required boolean,
  p_per_day int default null
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_org uuid := voice_clone.require_cloner(p_employee, p_user);
  s public.voice_samples;
begin
  perform voice_clone.lock_consents_shared(p_employee);
  perform from public.employees e where e.id = p_employee for no key update;
  select * into s from public.voice_samples x where x.id = p_sample and x.employee_id = p_employee and x.status = 'ready';
  if not found then
    raise exception 'there is no such recording' using errcode = 'VC004', detail = '{"field": "sample_id"}';
  end if;
  perform voice_clone.check_employee_consent(s.consent_id, p_employee);
  perform voice_clone.check_organization_limits(v_org, p_per_day);
  insert into public.voice_clone_attempts (id, employee_id, org_id, sample_id, source, provider, region, preview_status)
  values (p_attempt, p_employee, v_org, p_sample, 'recording', p_provider, p_region,
          case when p_preview_required then 'required' else 'not_required' end);
  return query select * from voice_clone.queue_employee_attempt(p_attempt, s);
end
$$;

-- The mirror with the gate, for a member. No consent means that nobody can clone the employee now.
create function voice_clone.employee_voice(p_employee uuid, p_user uuid)
returns table (voice jsonb, voice_id text, gate jsonb, preview_path text, consent_id uuid, recording_clone jsonb)
language plpgsql stable security definer set search_path = '' rows 1
as $$
begin
  perform voice_clone.require_employee(p_employee, p_user, false);
  return query
    select voice_clone.shown_mirror(e.voice), e.voice_id,
      jsonb_build_object('launchable', b.blockers = '{}', 'blockers', b.blockers), case when a.taken_down_at is null then a.preview_path end,
      (select c from voice_clone.employee_consents(p_employee) c limit 1), voice_clone.last_recording_clone(p_employee)
    from public.employees e
    left join public.voice_clone_attempts a on a.employee_id = e.id and a.is_active and a.org_id = e.org_id
    cross join lateral voice_clone.launch_blockers(a.status, a.runtime_status, a.preview_status, a.error_code, a.taken_down_at) b (blockers)
    where e.id = p_employee;
end
$$;

-- Everything of an employee is silent at once, and removed: at the provider, in Storage. The caller has locked the consents or
-- the employee.
create function voice_clone.remove_employee_voices(p_employee uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempts uuid[] := array(select a.id from public.voice_clone_attempts a where a.employee_id = p_employee);
begin
  perform voice_clone.silence(v_attempts, null, p_reason, array(
    select s.id from public.voice_samples s where s.employee_id = p_employee));
  perform voice_clone.withdraw(v_attempts);
  perform voice_clone.request_object_removal('recordings', p_employee::text);
end
$$;

-- By an admin. A later clone needs a new recording.
create function voice_clone.delete_employee_voice(p_employee uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_employee(p_employee, p_user, true);
  perform voice_clone.lock_consents(p_employee);
  perform from public.employees e where e.id = p_employee for no key update;
  perform voice_clone.remove_employee_voices(p_employee, 'voice_deleted');
end
$$;

-- An employee is deleted, or leaves the organization. The row is locked already, so the lock of the consents is not waited for
-- (cancel_attempts_of_reflection).
create function voice_clone.release_employee() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_try_advisory_xact_lock_shared(hashtextextended('consents:' || old.id::text, 0));
  if tg_op = 'DELETE' then
    -- Before the attempts: a revocation locks the chain first, and the foreign key would do this last.
    update voice_clone.consent_chains k set employee_id = null where k.employee_id = old.id;
    perform voice_clone.remove_employee_voices(old.id, 'employee_deleted');
    return old;
  end if;
  perform voice_clone.remove_employee_voices(old.id, 'employee_left');
  perform voice_clone.mirror_reflections(array[old.id]);
  return null;
end
$$;
create trigger voice_clone_remove_voices before delete on public.employees
  for each row execute function voice_clone.release_employee();
create trigger voice_clone_release after update on public.employees
  for each row when (old.org_id is distinct from new.org_id) execute function voice_clone.release_employee();

-- A user is deleted who signed as an employee: what was made under those consents ends.
create function voice_clone.withdraw_employee_consents(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_employee uuid;
begin
  for v_employee in
    select distinct c.subject_id from public.voice_consents c
    join public.voice_samples s on s.consent_id = c.id and s.employee_id = c.subject_id
    where c.user_id = p_user and c.subject_kind = 'employee' order by c.subject_id
  loop
    perform voice_clone.lock_consents(v_employee);
    perform voice_clone.remove_employee_voices(v_employee, 'consent_revoked');
  end loop;
end
$$;

grant execute on function
  voice_clone.check_employee_clone(uuid, uuid, int),
  voice_clone.add_recording(uuid, uuid, uuid, text, text, text, bigint, int),
  voice_clone.drop_recording(uuid, uuid),
  voice_clone.clone_recording(uuid, uuid, uuid, uuid, text, text, boolean, int),
  voice_clone.employee_voice(uuid, uuid),
  voice_clone.delete_employee_voice(uuid, uuid)
to voice_clone_backend;
