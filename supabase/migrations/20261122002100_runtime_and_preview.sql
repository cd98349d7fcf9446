-- Runtime sync and preview: the two steps of a ready voice before it may be launched. One after the other, under the
-- attempt's one lease: the preview speaks through the runtime.

create function voice_clone.claim_step(p_attempt uuid, p_step text, p_lease_owner text, p_lease_seconds int)
returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  v_lease timestamptz;
  a public.voice_clone_attempts;
  v_waiting boolean;
  v_lost boolean;
begin
  if p_step not in ('runtime', 'preview') then
    raise exception 'there is no step %', p_step using errcode = 'VC006';
  end if;
  select * into a from public.voice_clone_attempts x where x.id = p_attempt for no key update;
  v_lease := voice_clone.lease_expires_at(p_attempt);
  if a.id is null or not a.is_active or a.status <> 'ready' then
    return ('inactive', null, null)::voice_clone.claim;
  end if;
  v_waiting := case p_step when 'runtime' then a.runtime_status = 'pending' else a.preview_status = 'required' end;
  v_lost := case p_step when 'runtime' then a.runtime_status = 'syncing' else a.preview_status = 'rendering' end;
  if (not v_waiting and not v_lost) or a.taken_down_at is not null then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  elsif v_lease > now() then
    return ('busy', voice_clone.seconds_until(v_lease), null)::voice_clone.claim;
  elsif v_waiting and a.not_before > now() then
    return ('not_due', voice_clone.seconds_until(a.not_before), null)::voice_clone.claim;
  end if;
  if v_lost then
    if not voice_clone.try_lock_references(a) then
      return ('busy', 1, null)::voice_clone.claim;
    end if;
    a := voice_clone.requeue_or_fail_step(a, p_step, 'worker_lost', 'The worker stopped without a result more often than is allowed.', p_lease_seconds, false);
    if 'failed' = (case p_step when 'runtime' then a.runtime_status else a.preview_status end) then
      return ('exhausted', null, null)::voice_clone.claim;
    end if;
  end if;
  update public.voice_clone_attempts x
  set runtime_status = case p_step when 'runtime' then 'syncing' else x.runtime_status end,
      preview_status = case p_step when 'preview' then 'rendering' else x.preview_status end,
      sync_count = x.sync_count + (p_step = 'runtime')::int, preview_count = x.preview_count + (p_step = 'preview')::int,
      lease_epoch = x.lease_epoch + 1, lease_owner = p_lease_owner,
      lease_seconds = p_lease_seconds, not_before = null
  where x.id = p_attempt
  returning x.lease_epoch into a.lease_epoch;
  return ('claimed', null, a.lease_epoch)::voice_clone.claim;
end
$$;

-- Pending again after the delay, while the step's budget lasts or in an outage, else failed with this error.
create function voice_clone.requeue_or_fail_step(
  a public.voice_clone_attempts, p_step text, p_error_code text, p_error_message text, p_delay_seconds float8,
  p_is_outage boolean
) returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_again boolean := case p_step
    when 'runtime' then voice_clone.may_try_again(a, a.sync_count, a.sync_budget, p_is_outage)
    else voice_clone.may_try_again(a, a.preview_count, a.preview_budget, p_is_outage) end;
  v_uncounted int := (p_is_outage and v_again)::int;
begin
  update public.voice_clone_attempts x
  set runtime_status = case when p_step <> 'runtime' then x.runtime_status when v_again then 'pending' else 'failed' end,
      preview_status = case when p_step <> 'preview' then x.preview_status when v_again then 'required' else 'failed' end,
      sync_count = x.sync_count - case p_step when 'runtime' then v_uncounted else 0 end,
      preview_count = x.preview_count - case p_step when 'preview' then v_uncounted else 0 end,
      waiting_since = case when v_again and p_is_outage then coalesce(x.waiting_since, now()) when v_again then x.waiting_since end,
      not_before = case when v_again then now() + make_interval(secs => p_delay_seconds) end,
      error_code = p_error_code, lease_owner = null, lease_seconds = null,
      error_message = case when p_is_outage and not v_again then voice_clone.outage_message(p_error_message) else p_error_message end
  where x.id = a.id
  returning * into a;
  return a;
end
$$;

-- The runtime has the voice (synced), refused it (failed), or may have it later (pending, within the budget).
create function voice_clone.mark_runtime(
  p_attempt uuid, p_epoch int, p_status text, p_error_code text, p_error_message text, p_delay_seconds float8, p_message_id bigint,
  p_is_outage boolean default false
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'ready');
begin
  perform voice_clone.acknowledge_messages('voice_runtime_sync', array[p_message_id]) where p_message_id is not null;
  if p_status = 'pending' then
    return query select * from voice_clone.requeue_or_fail_step(a, 'runtime', p_error_code, p_error_message, p_delay_seconds, p_is_outage);
    return;
  end if;
  return query
    update public.voice_clone_attempts x
    set runtime_status = p_status, error_code = p_error_code, error_message = p_error_message, waiting_since = null, lease_owner = null, lease_seconds = null
    where x.id = p_attempt
    returning *;
end
$$;

-- The clip is rendered at p_path, cannot be rendered (failed), or may be later (required, within the budget).
create function voice_clone.mark_preview(
  p_attempt uuid, p_epoch int, p_status text, p_path text, p_error_code text, p_error_message text, p_delay_seconds float8, p_message_id bigint,
  p_is_outage boolean default false
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts := voice_clone.require_lease(p_attempt, p_epoch, 'ready');
begin
  perform voice_clone.acknowledge_messages('voice_preview', array[p_message_id]) where p_message_id is not null;
  if p_status = 'required' then
    return query select * from voice_clone.requeue_or_fail_step(a, 'preview', p_error_code, p_error_message, p_delay_seconds, p_is_outage);
    return;
  end if;
  if p_path is not null then
    insert into voice_clone.previews as p (attempt_id) values (p_attempt)
    on conflict (attempt_id) do update set rendered_at = excluded.rendered_at;
    perform voice_clone.note_speech(v) from public.voices v where v.attempt_id = p_attempt;
  end if;
  return query
    update public.voice_clone_attempts x
    set preview_status = p_status, preview_path = coalesce(p_path, x.preview_path),
        error_code = p_error_code, error_message = p_error_message, waiting_since = null, lease_owner = null, lease_seconds = null
    where x.id = p_attempt
    returning *;
end
$$;

create function voice_clone.active_attempt(p_reflection uuid, p_user uuid) returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select x.* into a from public.voice_clone_attempts x
  where x.reflection_id = p_reflection and x.user_id = p_user and x.is_active for no key update;
  if a.id is null then
    raise exception 'this reflection has no active attempt' using errcode = 'VC004';
  end if;
  return a;
end
$$;

-- Requests a preview of an attempt that the caller has locked: the first, one after a failure, or another. While one is being
-- rendered, changes nothing.
create function voice_clone.request_preview_of(a public.voice_clone_attempts) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  if a.status <> 'ready' or a.runtime_status <> 'synced' then
    raise exception 'the voice is not ready to speak: it is %, its runtime %', a.status, a.runtime_status
      using errcode = 'VC001', detail = jsonb_build_object('status', a.status, 'runtime_status', a.runtime_status)::text;
  elsif a.preview_status in ('required', 'rendering') then
    return query select (a).*;
    return;
  end if;
  return query
    update public.voice_clone_attempts x
    set preview_status = 'required', preview_count = 0, error_code = null, error_message = null, not_before = null,
        waiting_since = null
    where x.id = a.id
    returning *;
end
$$;

-- The clip was heard. A second call changes nothing.
create function voice_clone.complete_preview_of(a public.voice_clone_attempts) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  if a.preview_status = 'completed' then
    return query select (a).*;
    return;
  end if;
  return query update public.voice_clone_attempts x set preview_status = 'completed' where x.id = a.id returning *;
end
$$;

create function voice_clone.request_preview(p_reflection uuid, p_user uuid) returns setof public.voice_clone_attempts
language sql security definer set search_path = ''
as $$ select * from voice_clone.request_preview_of(voice_clone.active_attempt(p_reflection, p_user)) $$;

create function voice_clone.complete_preview(p_reflection uuid, p_user uuid) returns setof public.voice_clone_attempts
language sql security definer set search_path = ''
as $$ select * from voice_clone.complete_preview_of(voice_clone.active_attempt(p_reflection, p_user)) $$;

grant execute on function
  voice_clone.claim_step(uuid, text, text, int),
  voice_clone.mark_runtime(uuid, int, text, text, text, float8, bigint, boolean),
  voice_clone.mark_preview(uuid, int, text, text, text, text, float8, bigint, boolean),
  voice_clone.request_preview(uuid, uuid),
  voice_clone.complete_preview(uuid, uuid)
to voice_clone_backend;
