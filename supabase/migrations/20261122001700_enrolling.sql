-- Enrolling: intent first (committed), then the provider's call, then its result (committed).

-- The intent. Refused while the outcome of an earlier one is open (invariant 5).
create function voice_clone.intend_enrollment(p_attempt uuid, p_epoch int, p_label text, p_settle_seconds float8)
returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  v_id uuid;
begin
  insert into voice_clone.enrollments (attempt_id, lease_epoch, provider, region, label, settles_at)
  values (a.id, p_epoch, a.provider, a.region, p_label, now() + make_interval(secs => p_settle_seconds))
  returning id into v_id;
  return v_id;
exception when unique_violation then
  raise exception 'the outcome of an earlier enrollment of attempt % is open', p_attempt using errcode = 'VC007';
end
$$;

-- What is known of an enrollment that brought no voice: closed (nothing was made) or unknown (look again).
create function voice_clone.resolve_enrollment(
  p_enrollment uuid, p_epoch int, p_status text, p_code text, p_request_id text, p_settle_seconds float8 default 0
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  select * into e from voice_clone.enrollments x where x.id = p_enrollment;
  perform voice_clone.require_lease(e.attempt_id, p_epoch, 'processing');
  update voice_clone.enrollments x
  set status = p_status, error_code = p_code, request_id = coalesce(p_request_id, x.request_id),
      settles_at = now() + make_interval(secs => p_settle_seconds)
  where x.id = p_enrollment;
end
$$;

-- A voice that was made for an attempt its maker holds no longer. It is kept for the worker that holds the
-- attempt now; where nobody can take it any more, it is an orphan. Changes nothing that a client sees.
create function voice_clone.report_enrollment(
  p_enrollment uuid, p_voice text, p_target_model text, p_requires_verification boolean, p_request_id text
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
  a public.voice_clone_attempts;
begin
  select x.* into a from public.voice_clone_attempts x
  join voice_clone.enrollments y on y.attempt_id = x.id where y.id = p_enrollment for no key update of x;
  select * into e from voice_clone.enrollments x where x.id = p_enrollment for no key update;
  if e.status in ('attached', 'orphaned', 'removing', 'removed') then
    return e.status;
  end if;
  update voice_clone.enrollments x
  set provider_voice_id = p_voice, target_model = p_target_model, request_id = coalesce(p_request_id, x.request_id),
      requires_verification = p_requires_verification,
      status = case
        when a.is_active and a.status in ('queued', 'processing') and x.status <> 'closed' then x.status
        else 'orphaned'
      end
  where x.id = p_enrollment
  returning x.status into e.status;
  return e.status;
end
$$;

-- Ready, and the lease goes on where there is a runtime to be told and the worker is going to.
create function voice_clone.make_ready(
  a public.voice_clone_attempts, p_voice text, p_target_model text, p_request_id text, p_continue_to_sync boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_syncs boolean := p_continue_to_sync and a.reflection_id is not null and a.runtime_status = 'pending';
begin
  return query
    update public.voice_clone_attempts x
    set status = 'ready', provider_voice_id = p_voice, target_model = p_target_model, request_id = p_request_id,
        error_code = null, error_message = null,
        runtime_status = case when v_syncs then 'syncing' else x.runtime_status end,
        sync_count = x.sync_count + v_syncs::int,
        lease_owner = case when v_syncs then x.lease_owner end,
        lease_expires_at = case when v_syncs then x.lease_expires_at end
    where x.id = a.id
    returning *;
end
$$;

-- The voice is made: attach it, in the transaction that archives the message (invariants 4 and 10).
create function voice_clone.attach_voice(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_voice text, p_target_model text, p_request_id text, p_message bigint,
  p_continue_to_sync boolean default false
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
begin
  update voice_clone.enrollments e
  set status = 'attached', provider_voice_id = p_voice, target_model = p_target_model,
      request_id = coalesce(p_request_id, e.request_id)
  where e.id = p_enrollment and e.attempt_id = p_attempt;
  if not found then
    raise exception 'attempt % has no enrollment %', p_attempt, p_enrollment using errcode = 'VC004';
  end if;
  insert into public.voices (id, user_id, attempt_id, enrollment_id, name, language, provider, region, provider_voice_id, target_model)
  values (a.voice_id, a.user_id, a.id, p_enrollment, a.name, a.language, a.provider, a.region, p_voice, p_target_model);
  perform voice_clone.archive_messages('voice_clone_process', array[p_message]) where p_message is not null;
  return query select * from voice_clone.make_ready(a, p_voice, p_target_model, p_request_id, p_continue_to_sync);
end
$$;

-- The provider made the voice and wants its speaker verified before it may be used.
create function voice_clone.await_verification(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_voice text, p_target_model text, p_request_id text, p_archive bigint
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  update voice_clone.enrollments e
  set status = 'attached', provider_voice_id = p_voice, target_model = p_target_model, requires_verification = true,
      request_id = coalesce(p_request_id, e.request_id)
  where e.id = p_enrollment and e.attempt_id = p_attempt;
  perform voice_clone.archive_messages('voice_clone_process', array[p_archive]) where p_archive is not null;
  return query
    update public.voice_clone_attempts a
    set status = 'verifying', provider_voice_id = p_voice, target_model = p_target_model, request_id = p_request_id,
        error_code = null, error_message = null, lease_owner = null, lease_expires_at = null
    where a.id = p_attempt
    returning *;
end
$$;

grant execute on function
  voice_clone.intend_enrollment(uuid, int, text, float8),
  voice_clone.resolve_enrollment(uuid, int, text, text, text, float8),
  voice_clone.report_enrollment(uuid, text, text, boolean, text),
  voice_clone.attach_voice(uuid, int, uuid, text, text, text, bigint, boolean),
  voice_clone.await_verification(uuid, int, uuid, text, text, text, bigint)
to voice_clone_backend;
