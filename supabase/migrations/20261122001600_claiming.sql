-- Claiming: who may write an attempt now. Each claim raises the epoch; a write with an older one is refused.

create type voice_clone.claim as (
  outcome text, -- claimed | busy | user_busy | all_busy | not_due | exhausted | inactive | nothing_to_do
  retry_after_seconds int,
  lease_epoch int
);

create function voice_clone.seconds_until(p_when timestamptz) returns int
language plpgsql stable set search_path = ''
as $$
begin
  return greatest(1, ceil(extract(epoch from p_when - now())))::int;
end
$$;

-- Whether a step that failed is tried again: within its budget. An outage uses up none, and has a limit of its own.
create function voice_clone.may_try_again(a public.voice_clone_attempts, p_count int, p_budget int, p_is_outage boolean)
returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return case when p_is_outage then coalesce(a.waiting_since + voice_clone.timeout('outage') > now(), true)
    else p_count < p_budget end;
end
$$;

-- What the user reads where an outage outlasted its limit.
create function voice_clone.outage_message(p_error_message text) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return p_error_message || ' That lasted longer than is waited for. Retry later, or choose another provider.';
end
$$;

-- Queued again, or failed with this error. An outage is not the attempt's fault: the try is not counted.
create function voice_clone.requeue_or_fail(
  p_attempt uuid, p_error_code text, p_error_message text, p_delay_seconds float8, p_is_outage boolean
) returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v_again boolean;
begin
  select * into a from public.voice_clone_attempts x where x.id = p_attempt;
  v_again := voice_clone.may_try_again(a, a.process_count, a.process_budget, p_is_outage);
  update public.voice_clone_attempts x
  set status = case when v_again then 'queued' else 'failed' end,
      process_count = x.process_count - (p_is_outage and v_again)::int,
      waiting_since = case when v_again and p_is_outage then coalesce(x.waiting_since, now()) when v_again then x.waiting_since end,
      not_before = case when v_again then now() + make_interval(secs => p_delay_seconds) end,
      error_code = p_error_code, lease_owner = null, lease_seconds = null,
      error_message = case when p_is_outage and not v_again then voice_clone.outage_message(p_error_message) else p_error_message end
  where x.id = p_attempt
  returning * into a;
  return a;
end
$$;

-- For an attempt that is updated twice in one transaction: the second update checks its foreign keys again, and would wait with
-- the attempt locked. This does not wait; false where the user, the reflection or the employee is being deleted.
create function voice_clone.try_lock_references(a public.voice_clone_attempts) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if a.employee_id is not null then
    perform from public.employees e where e.id = a.employee_id for key share skip locked;
    return found;
  end if;
  perform from auth.users u where u.id = a.user_id for key share skip locked;
  if found and a.reflection_id is not null then
    perform from public.reflections r where r.id = a.reflection_id for key share skip locked;
  end if;
  return found;
end
$$;

-- Takes a queued attempt for processing; also one whose worker's lease ran out, while the budget lasts.
-- p_early ignores not_before: the caller that queued an attempt may process it at once. p_user_cap and p_max_jobs are how many
-- jobs are processed at once, of its user and in all; one over them waits (take_job_slot).
create function voice_clone.claim_attempt(
  p_attempt uuid, p_lease_owner text, p_lease_seconds int, p_user_cap int, p_early boolean, p_max_jobs int default 50
) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v_lease timestamptz;
  v_slot text;
begin
  select * into a from public.voice_clone_attempts x where x.id = p_attempt for no key update;
  v_lease := voice_clone.lease_expires_at(p_attempt);
  if a.id is null or not a.is_active then
    return ('inactive', null, null)::voice_clone.claim;
  elsif a.status not in ('queued', 'processing') or a.taken_down_at is not null then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  elsif a.status = 'processing' and v_lease > now() then
    return ('busy', voice_clone.seconds_until(v_lease), null)::voice_clone.claim;
  elsif a.status = 'queued' and a.not_before > now() and not p_early then
    return ('not_due', voice_clone.seconds_until(a.not_before), null)::voice_clone.claim;
  end if;

  if a.status = 'processing' then
    if not voice_clone.try_lock_references(a) then
      return ('busy', 1, null)::voice_clone.claim;
    end if;
    perform voice_clone.lock_jobs_of(coalesce(a.user_id, a.org_id));
    perform pg_advisory_xact_lock(voice_clone.job_lock()); -- not shared first and then exclusively: two such claims would deadlock
    perform voice_clone.requeue_or_fail(
      p_attempt, 'worker_lost', 'The worker stopped without a result more often than is allowed.', p_lease_seconds, false);
    if a.process_count >= a.process_budget then
      return ('exhausted', null, null)::voice_clone.claim;
    end if;
  end if;
  v_slot := voice_clone.take_job_slot(
    p_attempt, coalesce(a.user_id, a.org_id), 'voice_clone_process', a.reflection_id, p_user_cap, p_max_jobs);
  if v_slot <> 'taken' then
    return (v_slot, null, null)::voice_clone.claim;
  end if;
  update public.voice_clone_attempts x
  set status = 'processing', process_count = x.process_count + 1, lease_epoch = x.lease_epoch + 1,
      lease_owner = p_lease_owner, lease_seconds = p_lease_seconds,
      not_before = null, error_code = null, error_message = null
  where x.id = p_attempt
  returning x.lease_epoch into a.lease_epoch;
  return ('claimed', null, a.lease_epoch)::voice_clone.claim;
end
$$;

-- The user of an attempt, before the attempt: the row of its voice refers to the user (lock_user).
create function voice_clone.lock_user_of(p_attempt uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_user((select a.user_id from public.voice_clone_attempts a where a.id = p_attempt));
end
$$;

-- Locks the attempt for a worker's write, or raises VC002: another worker has the lease, or no one has it any more.
create function voice_clone.require_lease(p_attempt uuid, p_epoch int, p_status text) returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.voice_clone_attempts;
begin
  select * into v_attempt from public.voice_clone_attempts a
  where a.id = p_attempt and a.status = p_status and a.lease_epoch = p_epoch
    and a.lease_owner is not null and a.is_active
  for no key update;
  if not found then
    raise exception 'the lease on attempt % at epoch % is lost', p_attempt, p_epoch using errcode = 'VC002';
  end if;
  return v_attempt;
end
$$;

-- Extends the lease, for any step. False where it is lost: the worker must stop. No transition, so it leaves no event.
create function voice_clone.renew_lease(p_attempt uuid, p_epoch int, p_lease_seconds int) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.deadlines d
  set lease_expires_at = greatest(d.lease_expires_at + interval '1 microsecond', now() + make_interval(secs => p_lease_seconds))
  where d.attempt_id = p_attempt and d.lease_epoch = p_epoch;
  return found;
end
$$;

-- A transient failure: queued again after the delay, while the budget lasts or in an outage, else failed. The edge back to
-- queued sends the next message, so this one is acknowledged.
create function voice_clone.requeue_attempt(
  p_attempt uuid, p_epoch int, p_delay_seconds float8, p_error_code text, p_error_message text, p_message_id bigint,
  p_is_outage boolean default false
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  perform voice_clone.acknowledge_messages('voice_clone_process', array[p_message_id]) where p_message_id is not null;
  return query select * from voice_clone.requeue_or_fail(p_attempt, p_error_code, p_error_message, p_delay_seconds, p_is_outage);
end
$$;

create function voice_clone.fail_attempt(
  p_attempt uuid, p_epoch int, p_error_code text, p_error_message text, p_request_id text, p_message_id bigint
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  perform voice_clone.acknowledge_messages('voice_clone_process', array[p_message_id]) where p_message_id is not null;
  return query
    update public.voice_clone_attempts a
    set status = 'failed', error_code = p_error_code, error_message = p_error_message, request_id = p_request_id,
        waiting_since = null, lease_owner = null, lease_seconds = null
    where a.id = p_attempt
    returning *;
end
$$;

-- What a worker needs to know of the attempt that it claimed, with the enrollment whose outcome is open, if any. The account
-- is that of this enrollment, or of the attempt's voice; null where neither exists.
-- ready_seconds is how long ago the voice was made: its provider may list it only after a while. waiting_seconds is how
-- long the step has met an outage.
-- owner_id is the user or the employee: whose folder of Storage it is.
-- Volatile, so that it sees the claim that it is joined to. In plpgsql, which plans the query once a session.
create function voice_clone.claimed_work(p_attempt uuid)
returns table (
  attempt_id uuid, owner_id uuid, reflection_id uuid, voice_id uuid, source text, provider text, region text,
  account text, name text, language text, provider_voice_id text, target_model text, process_count int, sync_count int,
  preview_count int, path text, bytes bigint, original_path text, original_bytes bigint, original_type text, transcript text,
  enrollment_id uuid, label text, found_voice_id text, found_target_model text, found_requires_verification boolean,
  settles_in_seconds float8, ready_seconds float8, waiting_seconds float8
)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select a.id, coalesce(a.user_id, a.employee_id), a.reflection_id, a.voice_id, a.source, a.provider, a.region, coalesce(e.account, a.account),
      a.name, a.language, a.provider_voice_id, a.target_model, a.process_count, a.sync_count,
      a.preview_count, s.prepared_path, s.prepared_bytes, s.path, s.bytes, s.content_type, s.transcript,
      e.id, e.label, e.provider_voice_id, e.target_model, e.requires_verification,
      extract(epoch from e.settles_at - now())::float8, extract(epoch from now() - a.ready_at)::float8,
      coalesce(extract(epoch from now() - a.waiting_since), 0)::float8
    from public.voice_clone_attempts a
    left join public.voice_samples s on s.id = a.sample_id
    left join voice_clone.enrollments e on e.attempt_id = a.id and e.status in ('intended', 'unknown')
    where a.id = p_attempt;
end
$$;

grant execute on function
  voice_clone.claim_attempt(uuid, text, int, int, boolean, int),
  voice_clone.renew_lease(uuid, int, int),
  voice_clone.requeue_attempt(uuid, int, float8, text, text, bigint, boolean),
  voice_clone.fail_attempt(uuid, int, text, text, text, bigint),
  voice_clone.claimed_work(uuid)
to voice_clone_backend;
