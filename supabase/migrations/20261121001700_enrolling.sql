-- Enrolling: intent first (committed), then the provider's call, then its result (committed).

-- What a worker needs to know about the attempt it claimed, with the enrollment whose outcome is open, if any.
-- Volatile, so that it sees the claim it is joined to.
create function voice_clone.claimed_work(p_attempt uuid)
returns table (
  attempt_id uuid, user_id uuid, reflection_id uuid, voice_id uuid, provider text, region text, name text, language text,
  provider_voice_id text, target_model text, process_count int, sync_count int, preview_count int,
  bucket text, path text, bytes bigint, transcript text,
  enrollment_id uuid, label text, found_voice_id text, found_target_model text, found_requires_verification boolean,
  settles_in_seconds float8
)
language sql security definer set search_path = '' rows 1
as $$
  select a.id, a.user_id, a.reflection_id, a.voice_id, a.provider, a.region, a.name, a.language,
    a.provider_voice_id, a.target_model, a.process_count, a.sync_count, a.preview_count,
    s.bucket, s.prepared_path, s.prepared_bytes, s.transcript,
    e.id, e.label, e.provider_voice_id, e.target_model, e.requires_verification,
    extract(epoch from e.settles_at - now())::float8
  from public.attempts a
  left join public.samples s on s.id = a.sample_id
  left join voice_clone.enrollments e on e.attempt_id = a.id and e.status in ('intended', 'unknown')
  where a.id = p_attempt
$$;

-- The intent. Refused while the outcome of an earlier one is open (invariant 5).
create function voice_clone.intend_enrollment(p_attempt uuid, p_epoch int, p_label text, p_settle_seconds float8)
returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts := voice_clone.hold_lease(p_attempt, p_epoch, 'processing');
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
create function voice_clone.settle_enrollment(
  p_enrollment uuid, p_epoch int, p_status text, p_code text, p_request_id text, p_settle_seconds float8 default 0
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  select * into e from voice_clone.enrollments x where x.id = p_enrollment;
  perform voice_clone.hold_lease(e.attempt_id, p_epoch, 'processing');
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
  a public.attempts;
begin
  select x.* into a from public.attempts x
  join voice_clone.enrollments y on y.attempt_id = x.id where y.id = p_enrollment for no key update of x;
  select * into e from voice_clone.enrollments x where x.id = p_enrollment for no key update;
  if e.status in ('attached', 'orphaned', 'removed') then
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

-- The voice is made: attach it, in the transaction that archives the message (invariants 4 and 10).
create function voice_clone.attach_voice(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_voice text, p_target_model text, p_request_id text, p_message bigint
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts := voice_clone.hold_lease(p_attempt, p_epoch, 'processing');
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
  return query
    update public.attempts x
    set status = 'ready', provider_voice_id = p_voice, target_model = p_target_model, request_id = p_request_id,
        error_code = null, error_message = null, lease_owner = null, lease_expires_at = null
    where x.id = p_attempt
    returning *;
end
$$;
