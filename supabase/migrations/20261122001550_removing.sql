-- Removing: what was deleted or revoked is silent in the same transaction, and is removed at its provider and in Storage
-- (invariant 13). Lock order: the user's consents, attempts by id, samples by id, voices, speech jobs, enrollments.

-- Whether nothing of an attempt may stay: its consent is revoked, or its user or employee deleted.
create function voice_clone.is_withdrawn(p_attempt uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (
    select from public.voice_clone_attempts a
    left join public.voice_samples s on s.id = a.sample_id
    where a.id = p_attempt and (
      num_nonnulls(a.user_id, a.employee_id) = 0 or exists (select from public.voice_consents r where r.revokes = s.consent_id)));
end
$$;

-- The attempts of the same user that speak with a voice which one of these attempts enrolled, also under another reflection.
create function voice_clone.custom_uses(p_attempts uuid[], p_user uuid) returns uuid[]
language sql stable security definer set search_path = ''
as $$
  select coalesce(array_agg(distinct u.id), '{}')
  from voice_clone.enrollments e
  join public.voice_clone_attempts u on u.user_id = p_user and u.source = 'custom_voice'
    and u.provider = e.provider and u.region = e.region and u.provider_voice_id = e.provider_voice_id
  where e.attempt_id = any (p_attempts) and e.provider_voice_id is not null
$$;

-- Ends every use of the voices of these attempts, which belong to one user whose consents the caller has locked: speech by the
-- voices' rows; gate, preview and running steps by the attempts'. Then their recordings and previews go, and p_samples, which
-- their user may have kept.
create function voice_clone.silence(p_attempts uuid[], p_user uuid, p_reason text, p_samples uuid[] default '{}') returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_uses uuid[] := voice_clone.custom_uses(p_attempts, p_user);
  v_samples uuid[];
begin
  perform voice_clone.lock_attempts(p_attempts || v_uses);
  v_samples := array(
    select distinct a.sample_id from public.voice_clone_attempts a
    where a.id = any (p_attempts || v_uses) and a.sample_id is not null);
  perform voice_clone.lock_samples(v_samples || p_samples);
  update public.voices v set deleted_at = now()
  where v.attempt_id = any (p_attempts || v_uses) and v.deleted_at is null;
  perform voice_clone.end_speech_jobs(p_attempts || v_uses, p_user, p_reason);
  perform voice_clone.cancel_attempts(p_reason, p_attempts => p_attempts);
  perform voice_clone.cancel_attempts('original_removed', p_attempts => v_uses);
  perform voice_clone.remove_previews(p_attempts || v_uses);
  perform voice_clone.remove_samples(v_samples);
  perform voice_clone.remove_samples(p_samples, true);
end
$$;

-- The voices of these attempts are removed at their provider at once. One that is not known yet follows when it is found
-- (is_withdrawn).
create function voice_clone.withdraw(p_attempts uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.voices v set removal_requested_at = now()
  where v.attempt_id = any (p_attempts) and v.removal_requested_at is null;
  perform from voice_clone.enrollments e where e.attempt_id = any (p_attempts) order by e.id for no key update;
  update voice_clone.enrollments e set status = 'orphaned', removal_due_at = now()
  where e.attempt_id = any (p_attempts) and (e.status = 'attached' or (e.status = 'orphaned' and e.removal_due_at is null));
end
$$;

-- The consent is revoked: everything made of its samples ends and is removed.
create function voice_clone.apply_revocation() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_samples uuid[] := array(select s.id from public.voice_samples s where s.consent_id = new.revokes);
  v_attempts uuid[] := array(select a.id from public.voice_clone_attempts a where a.sample_id = any (v_samples));
begin
  perform voice_clone.silence(v_attempts, new.user_id, 'consent_revoked', v_samples);
  perform voice_clone.withdraw(v_attempts);
  perform voice_clone.request_object_removal('recordings', new.subject_id::text) where new.subject_kind = 'employee';
  return null;
end
$$;
create trigger voice_consents_apply_revocation after insert on public.voice_consents
  for each row when (new.revokes is not null) execute function voice_clone.apply_revocation();

-- Soft: the voice stays at its provider until its retention ends, and nothing speaks with it. Its reflections have no voice
-- from now on. A custom voice that is deleted leaves the voice that it is a use of as it is. An admin may delete the voice of an
-- employee: that which speaks for them, or one that a newer one superseded.
create function voice_clone.delete_voice(p_voice uuid, p_user uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt uuid;
  v_employee uuid;
begin
  perform voice_clone.lock_consents(p_user);
  select v.attempt_id into v_attempt from public.voices v
  where v.id = p_voice and v.user_id = p_user and v.deleted_at is null;
  if found then
    perform voice_clone.silence(array[v_attempt], p_user, 'voice_deleted');
    return true;
  end if;
  select a.id, a.employee_id into v_attempt, v_employee
  from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id
  join public.organization_members m on m.org_id = v.org_id and m.user_id = p_user and m.role::text = 'admin'
  where v.id = p_voice and v.deleted_at is null;
  if not found then
    return false;
  end if;
  perform voice_clone.lock_consents(v_employee);
  perform from public.employees e where e.id = v_employee for no key update;
  perform voice_clone.silence(array[v_attempt], null, 'voice_deleted');
  return true;
end
$$;

-- Requests the removal of deleted voices at their provider, the longest deleted first, at most p_limit, and returns how many.
-- p_age is how long ago they were deleted; none where it is null. Of the accounts with these names, or of all. A voice with
-- an error is postponed, and stops no other.
create function voice_clone.release_deleted_voices(
  p_limit int, p_age interval, p_provider text default null, p_region text default null, p_accounts text[] default null
) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_voices uuid[];
  v record;
  v_count int := 0;
begin
  with due as materialized (
    select x.id from public.voices x
    where x.deleted_at <= now() - p_age and x.removal_requested_at is null and x.enrollment_id is not null
      and (p_provider is null or (x.tts_provider = p_provider and x.provider_region = p_region))
      and (p_accounts is null or x.provider_account = '' or x.provider_account = any (p_accounts))
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.deleted_at limit p_limit for no key update skip locked
  )
  select array_agg(d.id) into v_voices from due d;
  for v in select x.id, x.enrollment_id from public.voices x where x.id = any (v_voices) order by x.enrollment_id loop
    begin
      update public.voices x set removal_requested_at = now() where x.id = v.id;
      update voice_clone.enrollments e set status = 'orphaned', removal_due_at = now()
      where e.id = v.enrollment_id and e.status = 'attached';
      v_count := v_count + 1;
    exception when others then
      perform voice_clone.postpone_row('deleted voice', v.id, sqlerrm, sqlstate);
    end;
  end loop;
  return v_count;
end
$$;

-- The part of the sweep that ends retentions and removes objects. Counts by what was done; a step with an error stops no other.
create function voice_clone.sweep_removals(p_limit int) returns table (what text, count int)
language plpgsql security definer set search_path = ''
as $$
declare
  v_released int := 0;
  v_removals int := 0;
  v_broken int := 0;
  v_samples int := 0;
  v_previews int := 0;
  v_recordings int := 0;
  v_errors int := 0;
begin
  begin
    v_released := voice_clone.release_deleted_voices(p_limit, voice_clone.timeout('deleted_voice'));
  exception when others then
    raise warning 'deleted voices cannot be released: % (%)', sqlerrm, sqlstate;
    v_errors := v_errors + 1;
  end;
  begin
    v_samples := voice_clone.expire_samples(p_limit);
    v_previews := voice_clone.expire_previews(p_limit);
    v_recordings := voice_clone.expire_recordings(p_limit);
  exception when others then
    raise warning 'retentions cannot be ended: % (%)', sqlerrm, sqlstate;
    v_errors := v_errors + 1;
  end;
  begin
    v_removals := voice_clone.sweep_object_removals(p_limit);
  exception when others then
    raise warning 'object removals cannot be swept: % (%)', sqlerrm, sqlstate;
    v_errors := v_errors + 1;
  end;
  begin
    v_broken := voice_clone.sweep_consents(p_limit);
  exception when others then
    raise warning 'consents cannot be checked: % (%)', sqlerrm, sqlstate;
    v_errors := v_errors + 1;
  end;
  return query select * from (values
    ('released', v_released), ('expired_samples', v_samples), ('expired_previews', v_previews),
    ('expired_recordings', v_recordings), ('object_removals', v_removals), ('broken_consents', v_broken), ('errors', v_errors)
  ) done (what, count) where done.count > 0;
end
$$;

grant execute on function voice_clone.delete_voice(uuid, uuid) to voice_clone_backend;
