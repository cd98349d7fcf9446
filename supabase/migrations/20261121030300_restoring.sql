-- Restoring: back to the voice that worked, where the attempt that superseded it came to nothing.

insert into voice_clone.edges (machine, from_status, to_status, event, follow_ups) values
  ('status', 'cancelled', 'ready', 'restored', '{voice_runtime_sync,voice_preview}');

-- Its voice was kept, and whoever speaks in it still agrees. What its owner took away does not come back.
create function voice_clone.is_restorable(a public.attempts) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return a.status = 'cancelled' and a.cancel_reason = 'superseded' and a.ready_at is not null
    and exists (select from public.voices v where v.attempt_id = a.id and v.deleted_at is null)
    and not exists (
      select from public.samples s
      where s.id = a.sample_id and not voice_clone.is_standing(s.consent_id, a.user_id, a.reflection_id));
end
$$;

-- The edge is for these alone, whoever takes it.
create function voice_clone.guard_restore() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if not voice_clone.is_restorable(old) or not new.is_active then
    raise exception 'attempt %: only a voice that was superseded, and is kept, comes back', old.id
      using errcode = 'VC001', detail = jsonb_build_object('from', old.status, 'to', new.status)::text;
  end if;
  return new;
end
$$;
create trigger attempts_guard_restore before update on public.attempts
  for each row when (old.status = 'cancelled' and new.status = 'ready')
  execute function voice_clone.guard_restore();

-- Whether the attempt that is shown, or was last, came to nothing: failed, or taken away after it had failed.
create function voice_clone.came_to_nothing(a public.attempts) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return coalesce(
    voice_clone.has_failed(a)
    or (a.status = 'cancelled' and (a.failed_at >= a.queued_at or 'failed' in (a.runtime_status, a.preview_status))),
    false);
end
$$;

create function voice_clone.restore_attempt(p_reflection uuid, p_user uuid) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_newer public.attempts;
  v_kept public.attempts;
begin
  perform voice_clone.hold_consents(p_user);
  perform voice_clone.lock_reflection(p_reflection, p_user);
  select * into v_newer from public.attempts a
  where a.reflection_id = p_reflection and a.activated_at is not null
  order by a.version desc limit 1 for no key update;
  if v_newer.id is not null and not voice_clone.came_to_nothing(v_newer) then
    raise exception 'the latest attempt has not failed: it is %', v_newer.status
      using errcode = 'VC007', detail = voice_clone.refusal('latest_not_failed', v_newer);
  end if;
  select a.* into v_kept from public.attempts a
  join public.voices v on v.attempt_id = a.id and v.deleted_at is null
  where a.reflection_id = p_reflection and a.activated_at is not null and voice_clone.is_restorable(a)
  order by a.version desc limit 1 for no key update of a, v;
  if v_kept.id is null then
    raise exception 'no earlier voice of this reflection is kept'
      using errcode = 'VC007', detail = voice_clone.refusal('nothing_to_restore', v_newer),
            hint = 'Clone one with POST /v1/reflections/{id}/voice/clone.';
  end if;
  perform voice_clone.cancel_attempts('restored', p_reflection => p_reflection);
  return query select * from voice_clone.bring_back(v_kept.id);
end
$$;

-- Ready as it was. What was midway or had failed starts again; what was synced and heard still is.
create function voice_clone.bring_back(p_attempt uuid) returns setof public.attempts
language sql security definer set search_path = ''
as $$
  update public.attempts a
  set status = 'ready', is_active = true, cancel_reason = null, error_code = null, error_message = null,
      not_before = null,
      runtime_status = case when a.runtime_status in ('syncing', 'failed') then 'pending' else a.runtime_status end,
      preview_status = case when a.preview_status in ('rendering', 'failed') then 'required' else a.preview_status end,
      sync_count = case a.runtime_status when 'synced' then a.sync_count else 0 end,
      preview_count = case when a.preview_status in ('rendered', 'completed') then a.preview_count else 0 end
  where a.id = p_attempt
  returning *
$$;

grant execute on function voice_clone.restore_attempt(uuid, uuid) to voice_clone_backend;
