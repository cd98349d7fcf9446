-- Verification: the provider made the voice, and it may not be used before its speaker is verified.
--
-- A poll changes nothing at the provider, so it takes no lease. Its result is written only where the attempt has not
-- changed: verifying, active, at the same epoch and the same count of polls.

-- What a poll needs, and whether one is due: due | not_due | inactive | nothing_to_do.
create function voice_clone.verification_work(p_attempt uuid)
returns table (
  outcome text, lease_epoch int, verify_count int, provider text, region text, account text, provider_voice_id text,
  verifying_seconds float8)
language plpgsql stable security definer set search_path = '' rows 1
as $$
begin
  return query
    select case
        when not a.is_active then 'inactive'
        when a.status <> 'verifying' or a.taken_down_at is not null then 'nothing_to_do'
        when a.not_before > now() then 'not_due'
        else 'due'
      end,
      a.lease_epoch, a.verify_count, a.provider, a.region, a.account, a.provider_voice_id,
      extract(epoch from now() - a.verifying_at)::float8
    from public.voice_clone_attempts a where a.id = p_attempt;
end
$$;

-- Locks the attempt for the result of a poll, or raises VC002 where another poll or an operator was first.
create function voice_clone.require_verification_poll(p_attempt uuid, p_epoch int, p_verify_count int, p_message_id bigint)
returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select * into a from public.voice_clone_attempts x
  where x.id = p_attempt and x.status = 'verifying' and x.lease_epoch = p_epoch and x.verify_count = p_verify_count
    and x.is_active
  for no key update;
  if not found then
    raise exception 'attempt % is not at poll % of its verification any more', p_attempt, p_verify_count
      using errcode = 'VC002';
  end if;
  perform voice_clone.acknowledge_messages('voice_clone_verify', array[p_message_id]) where p_message_id is not null;
  return a;
end
$$;

-- The voice and the ready attempt. A custom voice has no enrollment.
create function voice_clone.make_verified(a public.voice_clone_attempts) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  select * into e from voice_clone.enrollments x
  where x.attempt_id = a.id and x.status = 'attached' and x.provider_voice_id = a.provider_voice_id;
  if found then
    perform voice_clone.add_enrolled_voice(a, e);
  else
    perform voice_clone.add_custom_voice(a);
  end if;
  update public.voice_clone_attempts x
  set status = 'ready', not_before = null, error_code = null, error_message = null
  where x.id = a.id;
end
$$;

-- A poll found the speaker verified.
create function voice_clone.complete_verification(p_attempt uuid, p_epoch int, p_verify_count int, p_message_id bigint)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_user_of(p_attempt);
  perform voice_clone.make_verified(voice_clone.require_verification_poll(p_attempt, p_epoch, p_verify_count, p_message_id));
end
$$;

-- The verification failed for good. The voice is no longer the attempt's: see orphan_unverified.
create function voice_clone.fail_verification(a public.voice_clone_attempts, p_error_code text, p_error_message text) returns void
language sql security definer set search_path = ''
as $$
  update public.voice_clone_attempts x
  set status = 'failed', error_code = p_error_code, error_message = p_error_message, not_before = null,
      provider_voice_id = case when x.source = 'custom_voice' then x.provider_voice_id end,
      target_model = case when x.source = 'custom_voice' then x.target_model end,
      account = case when x.source = 'custom_voice' then x.account end
  where x.id = a.id and x.status = 'verifying'
$$;

-- A poll found that the speaker will not be verified; the message says what the user can do.
create function voice_clone.reject_verification(
  p_attempt uuid, p_epoch int, p_verify_count int, p_error_code text, p_error_message text, p_message_id bigint
) returns void
language sql security definer set search_path = ''
as $$
  select voice_clone.fail_verification(
    voice_clone.require_verification_poll(p_attempt, p_epoch, p_verify_count, p_message_id), p_error_code, p_error_message)
$$;

-- Not verified yet, or the provider did not answer: the wait before the next poll doubles, or is longer where the provider
-- asks for that. Not a transition: nothing that a client sees has changed, unless an error says why no poll is possible.
create function voice_clone.postpone_verification(
  p_attempt uuid, p_epoch int, p_verify_count int, p_at_least_seconds float8, p_message_id bigint,
  p_error_code text default null, p_error_message text default null
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_verification_poll(p_attempt, p_epoch, p_verify_count, p_message_id);
  v_wait interval := greatest(
    least(voice_clone.timeout('verification_poll') * 2 ^ least(a.verify_count, 30),
      voice_clone.timeout('verification_poll_cap')),
    make_interval(secs => p_at_least_seconds));
begin
  update public.voice_clone_attempts x set verify_count = x.verify_count + 1, not_before = now() + v_wait,
      error_code = p_error_code, error_message = p_error_message
  where x.id = p_attempt returning * into a;
  if a.taken_down_at is null and not voice_clone.is_long_wait(a.not_before) then -- else the sweep or the lifting sends it
    perform pgmq.send('voice_clone_verify', voice_clone.queue_message('voice_clone_verify', a.id, a.version, a.reflection_id),
                      ceil(extract(epoch from v_wait))::int);
  end if;
end
$$;

-- An operator or a webhook says how a verification ended, before the next poll would. The same answer again changes
-- nothing; one that contradicts the recorded answer raises VC001. p_provider_voice_id, where given, is the voice that was
-- verified: an answer about an earlier voice of the attempt is refused.
create function voice_clone.record_verification(
  p_attempt uuid, p_verified boolean, p_provider_voice_id text, p_error_code text, p_error_message text
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v_answered boolean;
begin
  perform voice_clone.lock_user_of(p_attempt) where p_verified;
  select * into a from public.voice_clone_attempts x where x.id = p_attempt for no key update;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004';
  end if;
  v_answered := a.is_active and coalesce(a.verifying_at >= a.processing_at, false) and case
    when p_verified then a.status = 'ready' else a.status = 'failed' end;
  if not v_answered and (a.status <> 'verifying' or not a.is_active) then
    raise exception 'this attempt awaits no verification: it is %', a.status
      using errcode = 'VC001', detail = jsonb_build_object('status', a.status)::text;
  elsif p_provider_voice_id <> a.provider_voice_id then
    raise exception 'this attempt has another voice by now' using errcode = 'VC001',
      detail = '{"code": "voice_superseded", "field": "provider_voice_id"}';
  elsif v_answered then
    null;
  elsif p_verified then
    perform voice_clone.make_verified(a);
  else
    perform voice_clone.fail_verification(a, p_error_code, p_error_message);
  end if;
  return query select * from public.voice_clone_attempts x where x.id = p_attempt;
end
$$;

-- A voice whose verification did not succeed has no row in voices, so nothing owns it any more.
create function voice_clone.orphan_unverified() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.enrollments e set status = 'orphaned' where e.attempt_id = new.id and e.status = 'attached';
  return null;
end
$$;
create trigger voice_clone_attempts_orphan_unverified after update on public.voice_clone_attempts
  for each row when (old.status = 'verifying' and new.status in ('failed', 'cancelled'))
  execute function voice_clone.orphan_unverified();

grant execute on function
  voice_clone.verification_work(uuid),
  voice_clone.complete_verification(uuid, int, int, bigint),
  voice_clone.reject_verification(uuid, int, int, text, text, bigint),
  voice_clone.postpone_verification(uuid, int, int, float8, bigint, text, text),
  voice_clone.record_verification(uuid, boolean, text, text, text)
to voice_clone_backend;
