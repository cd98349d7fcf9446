-- Retrying: what failed starts again because its owner says so, within a budget of the owner's own.

-- The owner's moves and queueing come one at a time for a reflection: reflection first, then its attempts.
create function voice_clone.lock_reflection(p_reflection uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.reflections r where r.id = p_reflection and r.user_id = p_user for no key update;
  if not found then
    raise exception 'there is no such reflection' using errcode = 'VC004';
  end if;
end
$$;

-- Whether the enrollment, the runtime or the preview came to its end without success. Null for no attempt.
create function voice_clone.has_failed(a public.attempts) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return a.status = 'failed' or (a.status = 'ready' and 'failed' in (a.runtime_status, a.preview_status));
end
$$;

-- Where an attempt stands, for whoever was refused a move because of it.
create function voice_clone.refusal(p_code text, a public.attempts) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
    'code', p_code, 'attempt_id', a.id, 'status', a.status, 'runtime_status', a.runtime_status,
    'preview_status', a.preview_status, 'retries', a.user_retry_count, 'retry_budget', a.user_retry_budget));
end
$$;

create function voice_clone.require_retry(a public.attempts) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if a.id is null then
    raise exception 'this reflection has no voice in the making'
      using errcode = 'VC007', detail = voice_clone.refusal('nothing_to_retry', a),
            hint = 'Clone one with POST /v1/reflections/{id}/voice/clone.';
  elsif not voice_clone.has_failed(a) then
    raise exception 'nothing has failed: the voice is %, its runtime %, its preview %',
        a.status, a.runtime_status, a.preview_status
      using errcode = 'VC007', detail = voice_clone.refusal('nothing_to_retry', a);
  elsif a.user_retry_count >= a.user_retry_budget then
    raise exception 'this sample was retried % times, as often as is allowed', a.user_retry_count
      using errcode = 'VC007', detail = voice_clone.refusal('retry_budget_used', a),
            hint = 'Clone the voice from another sample; it has retries of its own.';
  end if;
end
$$;

-- The same attempt again, from the step that failed. A create whose outcome is unknown is still looked up
-- first, by the worker that claims the attempt.
create function voice_clone.retry_attempt(p_reflection uuid, p_user uuid) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts;
begin
  perform voice_clone.lock_reflection(p_reflection, p_user);
  select * into a from public.attempts x where x.reflection_id = p_reflection and x.is_active for no key update;
  perform voice_clone.require_retry(a);
  return query
    update public.attempts x
    set status = case x.status when 'failed' then 'queued' else x.status end,
        runtime_status = case x.runtime_status when 'failed' then 'pending' else x.runtime_status end,
        preview_status = case x.preview_status when 'failed' then 'required' else x.preview_status end,
        process_count = case x.status when 'failed' then 0 else x.process_count end,
        sync_count = case x.runtime_status when 'failed' then 0 else x.sync_count end,
        preview_count = case x.preview_status when 'failed' then 0 else x.preview_count end,
        user_retry_count = x.user_retry_count + 1,
        error_code = null, error_message = null, not_before = null
    where x.id = a.id
    returning *;
end
$$;

grant execute on function voice_clone.retry_attempt(uuid, uuid) to voice_clone_backend;
