-- Enrolling: intent first (committed), then the provider's call, then its result (committed).

-- The intent. Refused while the outcome of an earlier one is open (invariant 5). Null where no slot is free yet, and one will be:
-- then the worker calls wait_for_slot.
create function voice_clone.intend_enrollment(
  p_attempt uuid, p_epoch int, p_label text, p_provider_voice_kind text, p_settle_seconds float8,
  p_account text default ''
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  v_slots int;
  v_accounts text[];
  v_id uuid;
begin
  select s.slots, s.accounts into v_slots, v_accounts from voice_clone.slots s
  where s.provider = a.provider and s.region = a.region;
  if voice_clone.count_enrolled_voices(a.provider, a.region, v_slots, v_accounts) >= v_slots
    and voice_clone.slots_leaving(a.provider, a.region, 1, v_accounts) > 0
  then
    return null;
  end if;
  insert into voice_clone.enrollments (attempt_id, lease_epoch, provider, region, account, provider_voice_kind, label, settles_at)
  values (a.id, p_epoch, a.provider, a.region, p_account, p_provider_voice_kind, p_label,
          now() + make_interval(secs => p_settle_seconds))
  returning id into v_id;
  return v_id;
exception when unique_violation then
  raise exception 'the outcome of an earlier enrollment of attempt % is open', p_attempt using errcode = 'VC007';
end
$$;

-- No slot is free at the provider, in the account with these names: where a voice is being removed, or a deleted one can be, the attempt is queued again until
-- that is done, and its budget is not used. False where none is: then the worker fails it.
create function voice_clone.wait_for_slot(
  p_attempt uuid, p_epoch int, p_message_id bigint, p_accounts text[] default null
) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
begin
  if voice_clone.slots_leaving(a.provider, a.region, 1, p_accounts) = 0
    and voice_clone.release_deleted_voices(1, interval '0', a.provider, a.region, p_accounts) = 0
  then
    return false;
  end if;
  perform voice_clone.acknowledge_messages('voice_clone_process', array[p_message_id]) where p_message_id is not null;
  update public.voice_clone_attempts x
  set status = 'queued', process_count = greatest(x.process_count - 1, 0),
      not_before = now() + voice_clone.timeout('slot_wait'),
      error_code = 'slot_awaited', error_message = 'A voice that was deleted is being removed at the provider to make room.',
      lease_owner = null, lease_seconds = null
  where x.id = p_attempt;
  return true;
end
$$;

-- What is known of an enrollment that made no voice: closed (the provider made none) or unknown (look its label up). One
-- whose voice was reported meanwhile is not closed: the worker adopts the voice. The worker that made the create call knows
-- from its answer that no voice was made; any other closes only what can not appear any more.
create function voice_clone.resolve_enrollment(
  p_enrollment uuid, p_epoch int, p_status text, p_error_code text, p_request_id text, p_settle_seconds float8
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  perform voice_clone.require_lease(x.attempt_id, p_epoch, 'processing')
  from voice_clone.enrollments x where x.id = p_enrollment;
  select * into e from voice_clone.enrollments x where x.id = p_enrollment for no key update;
  if not found then
    raise exception 'there is no enrollment %', p_enrollment using errcode = 'VC004';
  elsif p_status = 'closed' and e.provider_voice_id is not null then
    raise exception 'enrollment % has a voice', p_enrollment using errcode = 'VC007', detail = '{"code": "enrollment_has_voice"}';
  elsif p_status = 'closed' and e.settles_at > now() and (e.status <> 'intended' or e.lease_epoch <> p_epoch) then
    raise exception 'the voice of enrollment % may still appear', p_enrollment
      using errcode = 'VC007', detail = '{"code": "enrollment_not_settled"}';
  end if;
  update voice_clone.enrollments x
  set status = p_status, error_code = p_error_code, request_id = coalesce(p_request_id, x.request_id),
      settles_at = now() + make_interval(secs => p_settle_seconds)
  where x.id = p_enrollment;
end
$$;

-- A voice that a worker made after it lost the lease, or while the database did not answer. The enrollment keeps it for the
-- worker that has the attempt now; where there is none, the voice is an orphan. Changes nothing that a client sees.
create function voice_clone.report_enrollment(
  p_enrollment uuid, p_provider_voice_id text, p_target_model text, p_requires_verification boolean, p_request_id text,
  p_provider_metadata jsonb
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
  set provider_voice_id = p_provider_voice_id, target_model = p_target_model,
      request_id = coalesce(p_request_id, x.request_id), requires_verification = p_requires_verification,
      provider_metadata = coalesce(p_provider_metadata, x.provider_metadata),
      status = case
        when a.is_active and a.status in ('queued', 'processing') and x.status <> 'closed' then x.status
        else 'orphaned'
      end
  where x.id = p_enrollment
  returning x.status into e.status;
  return e.status;
end
$$;

-- The enrollment has its voice. A null keeps what the enrollment knew before: a worker that adopts a voice has neither
-- the request id of the create call nor its metadata.
create function voice_clone.attach_enrollment(
  p_enrollment uuid, p_attempt uuid, p_provider_voice_id text, p_target_model text, p_requires_verification boolean,
  p_request_id text, p_provider_metadata jsonb
) returns voice_clone.enrollments
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  update voice_clone.enrollments x
  set status = 'attached', provider_voice_id = p_provider_voice_id, target_model = p_target_model,
      requires_verification = coalesce(p_requires_verification, x.requires_verification),
      request_id = coalesce(p_request_id, x.request_id),
      provider_metadata = coalesce(p_provider_metadata, x.provider_metadata)
  where x.id = p_enrollment and x.attempt_id = p_attempt
  returning * into e;
  if not found then
    raise exception 'attempt % has no enrollment %', p_attempt, p_enrollment using errcode = 'VC004';
  end if;
  return e;
end
$$;

-- Ready. With p_continue_to_sync the worker keeps its lease and does the first runtime sync as well: ready and syncing are
-- one transition, without a message, a second claim and a wait between the two. Where the worker dies, the lease ends
-- and the sweep requeues the sync. An attempt of the library has no runtime sync: its lease ends here.
create function voice_clone.make_ready(
  a public.voice_clone_attempts, p_provider_voice_id text, p_target_model text, p_account text, p_request_id text, p_continue_to_sync boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_syncs boolean := p_continue_to_sync and num_nonnulls(a.reflection_id, a.employee_id) > 0 and a.runtime_status = 'pending';
begin
  return query
    update public.voice_clone_attempts x
    set status = 'ready', provider_voice_id = p_provider_voice_id, target_model = p_target_model, account = p_account,
        request_id = p_request_id,
        error_code = null, error_message = null, waiting_since = null,
        runtime_status = case when v_syncs then 'syncing' else x.runtime_status end,
        sync_count = x.sync_count + v_syncs::int,
        lease_owner = case when v_syncs then x.lease_owner end,
        lease_seconds = case when v_syncs then x.lease_seconds end
    where x.id = a.id
    returning *;
end
$$;

-- The voice is made: attaches it, in the transaction that acknowledges the message (invariants 4 and 10).
create function voice_clone.attach_voice(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_provider_voice_id text, p_target_model text, p_request_id text,
  p_provider_metadata jsonb, p_message_id bigint, p_continue_to_sync boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  e voice_clone.enrollments;
begin
  perform voice_clone.lock_user_of(p_attempt);
  a := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  e := voice_clone.attach_enrollment(
    p_enrollment, p_attempt, p_provider_voice_id, p_target_model, null, p_request_id, p_provider_metadata);
  perform voice_clone.add_enrolled_voice(a, e);
  perform voice_clone.acknowledge_messages('voice_clone_process', array[p_message_id]) where p_message_id is not null;
  return query
    select * from voice_clone.make_ready(
      a, p_provider_voice_id, p_target_model, e.account, e.request_id, p_continue_to_sync);
end
$$;

-- The provider made the voice and requires a verification of its speaker before it may be used.
create function voice_clone.await_verification(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_provider_voice_id text, p_target_model text, p_request_id text,
  p_provider_metadata jsonb, p_message_id bigint
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  e voice_clone.enrollments := voice_clone.attach_enrollment(
    p_enrollment, p_attempt, p_provider_voice_id, p_target_model, true, p_request_id, p_provider_metadata);
begin
  perform voice_clone.acknowledge_messages('voice_clone_process', array[p_message_id]) where p_message_id is not null;
  return query
    update public.voice_clone_attempts x
    set status = 'verifying', provider_voice_id = p_provider_voice_id, target_model = p_target_model, account = e.account,
        request_id = e.request_id, error_code = null, error_message = null, waiting_since = null, lease_owner = null, lease_seconds = null
    where x.id = a.id
    returning *;
end
$$;

grant execute on function
  voice_clone.intend_enrollment(uuid, int, text, text, float8, text),
  voice_clone.wait_for_slot(uuid, int, bigint, text[]),
  voice_clone.resolve_enrollment(uuid, int, text, text, text, float8),
  voice_clone.report_enrollment(uuid, text, text, boolean, text, jsonb),
  voice_clone.attach_voice(uuid, int, uuid, text, text, text, jsonb, bigint, boolean),
  voice_clone.await_verification(uuid, int, uuid, text, text, text, jsonb, bigint)
to voice_clone_backend;
