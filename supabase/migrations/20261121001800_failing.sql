-- Failing, waiting for verification, and trying again.

create function voice_clone.fail_attempt(
  p_attempt uuid, p_epoch int, p_code text, p_message text, p_request_id text, p_archive bigint
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.hold_lease(p_attempt, p_epoch, 'processing');
  perform voice_clone.archive_messages('voice_clone_process', array[p_archive]) where p_archive is not null;
  return query
    update public.attempts a
    set status = 'failed', error_code = p_code, error_message = p_message, request_id = p_request_id,
        lease_owner = null, lease_expires_at = null
    where a.id = p_attempt
    returning *;
end
$$;

-- A failure that passes: again after the delay while the budget lasts, else failed with its reason.
-- The edge back to queued sends the next message, so this one is archived.
create function voice_clone.requeue_attempt(
  p_attempt uuid, p_epoch int, p_delay_seconds float8, p_code text, p_message text, p_archive bigint
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.archive_messages('voice_clone_process', array[p_archive]) where p_archive is not null;
  return query
    select * from voice_clone.give_back(
      voice_clone.hold_lease(p_attempt, p_epoch, 'processing'), p_code, p_message, p_delay_seconds);
end
$$;

-- The provider made the voice and wants its speaker verified before it may be used.
create function voice_clone.await_verification(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_voice text, p_target_model text, p_request_id text, p_archive bigint
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.hold_lease(p_attempt, p_epoch, 'processing');
  update voice_clone.enrollments e
  set status = 'attached', provider_voice_id = p_voice, target_model = p_target_model, requires_verification = true,
      request_id = coalesce(p_request_id, e.request_id)
  where e.id = p_enrollment and e.attempt_id = p_attempt;
  perform voice_clone.archive_messages('voice_clone_process', array[p_archive]) where p_archive is not null;
  return query
    update public.attempts a
    set status = 'verifying', provider_voice_id = p_voice, target_model = p_target_model, request_id = p_request_id,
        error_code = null, error_message = null, lease_owner = null, lease_expires_at = null
    where a.id = p_attempt
    returning *;
end
$$;

-- The transitions are the backend's; nobody else may call them.
grant execute on function
  voice_clone.open_attempt(uuid, uuid, uuid, uuid, text, text, text, text, bigint, boolean, int),
  voice_clone.clone_sample(uuid, uuid, uuid, uuid, text, text, boolean, text),
  voice_clone.queue_attempt(uuid, uuid, text, text, text, text, bigint, jsonb, text, bigint, int),
  voice_clone.claim_attempt(uuid, text, int, int, boolean),
  voice_clone.renew_lease(uuid, int, int),
  voice_clone.claimed_work(uuid),
  voice_clone.intend_enrollment(uuid, int, text, float8),
  voice_clone.settle_enrollment(uuid, int, text, text, text, float8),
  voice_clone.report_enrollment(uuid, text, text, boolean, text),
  voice_clone.attach_voice(uuid, int, uuid, text, text, text, bigint),
  voice_clone.fail_attempt(uuid, int, text, text, text, bigint),
  voice_clone.requeue_attempt(uuid, int, float8, text, text, bigint),
  voice_clone.await_verification(uuid, int, uuid, text, text, text, bigint),
  voice_clone.delete_voice(uuid, uuid)
to voice_clone_backend;
