-- Cleanup: create calls whose outcome no worker resolves any more are looked up, and orphans are removed at the provider.
-- The sweep sends the messages; a cleanup is safe to run twice, and late. Its beginning is committed before the provider
-- is called, and its end is written only where it is still true.

-- A worker has the attempt or will have it, and resolves an open outcome itself.
create function voice_clone.has_worker(p_attempt uuid) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (
    select from public.voice_clone_attempts a where a.id = p_attempt and a.is_active and a.status in ('queued', 'processing'));
end
$$;

-- A voice that is not deleted or an attempt uses this provider voice, so it is not removed, whatever the status of its enrollment.
create function voice_clone.is_owned(e voice_clone.enrollments) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (
    select from public.voices v
    where v.tts_provider = e.provider and v.provider_region = e.region and v.provider_voice_id = e.provider_voice_id
      and v.deleted_at is null and v.lost_at is null
  ) or exists (
    select from public.voice_clone_attempts a
    where a.id = e.attempt_id and a.provider_voice_id = e.provider_voice_id and a.status in ('verifying', 'ready'));
end
$$;

-- Sends a message for each enrollment that is due, at most p_limit, and returns how many were due. The wait before the
-- next message doubles. An enrollment whose attempt has a worker gets no message; one with an error is postponed.
create function voice_clone.sweep_enrollments(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
  v_messages jsonb[] := '{}';
  v_count int := 0;
begin
  for e in
    select * from voice_clone.enrollments x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit
    for update skip locked -- the update below takes this lock, because the id is generated. After a weaker lock it would wait for it
  loop
    v_count := v_count + 1;
    begin
      update voice_clone.enrollments x
      set sweep_at = now() + least(
        greatest(voice_clone.timeout('lost_message'), now() - voice_clone.cleanup_due_at(e)),
        voice_clone.timeout('lost_message_cap'))
      where x.id = e.id;
      if e.status not in ('intended', 'unknown') or not voice_clone.has_worker(e.attempt_id) then
        v_messages := v_messages || voice_clone.queue_message('voice_cleanup', e.id, 1, null);
      end if;
    exception when others then
      perform voice_clone.postpone_row('enrollment', e.id, sqlerrm, sqlstate);
    end;
  end loop;
  perform voice_clone.send_messages('voice_cleanup', v_messages, 0);
  return v_count;
end
$$;

-- Locks an enrollment after its attempt, in the common lock order.
create function voice_clone.lock_enrollment(p_enrollment uuid) returns voice_clone.enrollments
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
begin
  perform from public.voice_clone_attempts a
  where a.id = (select x.attempt_id from voice_clone.enrollments x where x.id = p_enrollment) for no key update;
  select * into e from voice_clone.enrollments x where x.id = p_enrollment for no key update;
  if not found then
    raise exception 'there is no enrollment %', p_enrollment using errcode = 'VC004';
  end if;
  return e;
end
$$;

-- The task: look_up (the label of an open outcome), remove, check (whether an earlier removal took place), or nothing, with
-- the reason.
create function voice_clone.begin_cleanup(p_enrollment uuid)
returns table (task text, reason text, provider text, region text, account text, label text, provider_voice_id text,
  settles_in_seconds float8)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  e voice_clone.enrollments := voice_clone.lock_enrollment(p_enrollment);
begin
  task := 'nothing';
  if e.status in ('intended', 'unknown') then
    if voice_clone.has_worker(e.attempt_id) then
      reason := 'has_worker';
    elsif e.provider_voice_id is not null then -- reported while the attempt still had a worker
      update voice_clone.enrollments x set status = 'orphaned' where x.id = e.id;
      reason := 'orphaned';
    else
      task := 'look_up';
    end if;
  elsif e.status = 'orphaned' and voice_clone.cleanup_due_at(e) > now() then
    reason := 'in_grace';
  elsif e.status = 'orphaned' and voice_clone.is_owned(e) then
    reason := 'owned';
  elsif e.status = 'orphaned' then
    update voice_clone.enrollments x set status = 'removing' where x.id = e.id;
    task := 'remove';
  elsif e.status = 'removing' then
    task := 'check';
  else
    reason := e.status;
  end if;
  return query select
    begin_cleanup.task, begin_cleanup.reason, e.provider, e.region, e.account, e.label, e.provider_voice_id,
    extract(epoch from e.settles_at - now())::float8;
end
$$;

-- The voice was found under its label (orphaned), will never appear (closed), or is gone (removed). Changes nothing where
-- another cleanup was first, or the attempt has a worker again. Returns the status.
create function voice_clone.end_cleanup(
  p_enrollment uuid, p_status text, p_provider_voice_id text, p_target_model text, p_message_id bigint
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments := voice_clone.lock_enrollment(p_enrollment);
  v_holds boolean := case p_status
    when 'removed' then e.status = 'removing'
    when 'orphaned' then e.status in ('intended', 'unknown') and not voice_clone.has_worker(e.attempt_id)
    when 'closed' then e.status in ('intended', 'unknown') and not voice_clone.has_worker(e.attempt_id)
      and e.settles_at <= now()
  end;
begin
  perform voice_clone.acknowledge_messages('voice_cleanup', array[p_message_id]) where p_message_id is not null;
  if v_holds and p_status = 'closed' and e.provider_voice_id is not null then -- reported while it was looked up
    update voice_clone.enrollments x set status = 'orphaned' where x.id = e.id returning x.status into e.status;
  elsif v_holds then
    update voice_clone.enrollments x
    set status = p_status, provider_voice_id = coalesce(x.provider_voice_id, p_provider_voice_id),
        target_model = coalesce(x.target_model, p_target_model),
        error_code = case p_status when 'closed' then 'never_made' else x.error_code end
    where x.id = e.id
    returning x.status into e.status;
  end if;
  return e.status;
end
$$;

-- Why a cleanup failed, until the sweep requests another.
create function voice_clone.note_failed_cleanup(p_enrollment uuid, p_error_code text) returns void
language sql security definer set search_path = ''
as $$
  update voice_clone.enrollments e set error_code = p_error_code
  where e.id = p_enrollment and e.status in ('intended', 'unknown', 'orphaned', 'removing')
    and e.error_code is distinct from p_error_code
$$;

-- Where the voices are that enrollments made or may have made, with how many of them.
create function voice_clone.places()
returns table (provider text, region text, account text, enrollments bigint)
language sql stable security definer set search_path = ''
as $$
  select e.provider, e.region, e.account, count(*) from voice_clone.enrollments e
  where e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing')
  group by e.provider, e.region, e.account order by e.provider, e.region, e.account
$$;

-- Provider voices that no voice owns, the oldest first.
create function voice_clone.orphans()
returns table (
  enrollment_id uuid, attempt_id uuid, provider text, region text, provider_voice_id text, label text,
  status text, cancel_reason text, orphaned_at timestamptz, removal_due_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select e.id, e.attempt_id, e.provider, e.region, e.provider_voice_id, e.label,
    e.status, a.cancel_reason, e.orphaned_at, coalesce(e.removal_due_at, e.orphaned_at + voice_clone.timeout('orphan_grace'))
  from voice_clone.enrollments e
  join public.voice_clone_attempts a on a.id = e.attempt_id
  where e.status in ('orphaned', 'removing')
  order by e.orphaned_at
$$;

create function operations.orphans()
returns table (
  enrollment_id uuid, attempt_id uuid, provider text, region text, provider_voice_id text, label text,
  status text, cancel_reason text, orphaned_at timestamptz, removal_due_at timestamptz)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.orphans() $$;

-- Of the voices that a provider lists, those that neither a voice nor an enrollment accounts for. A closed enrollment has
-- no voice, and a removed one has none any more. The enrollment in the answer has the voice's label: it was closed as never
-- made, has another voice, or was removed.
create function voice_clone.unaccounted_voices(p_provider text, p_region text, p_provider_voice_ids text[], p_labels text[])
returns table (provider_voice_id text, label text, enrollment_id uuid, enrollment_status text)
language sql stable security definer set search_path = ''
as $$
  select listed.voice, listed.label, e.id, e.status
  from unnest(p_provider_voice_ids, p_labels) listed (voice, label)
  left join voice_clone.enrollments e on e.id = voice_clone.enrollment_id(listed.label)
  where not exists (select from public.voices v
      where v.tts_provider = p_provider and v.provider_region = p_region and v.provider_voice_id = listed.voice
        and v.enrollment_id is null and v.deleted_at is null and v.lost_at is null)
    and not exists (select from voice_clone.enrollments k
      where k.provider = p_provider and k.provider_voice_id = listed.voice and k.region = p_region
        and k.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing'))
    and (e.provider, e.region, e.status in ('intended', 'unknown'), e.provider_voice_id is null)
      is distinct from (p_provider, p_region, true, true) -- its id is not known yet
$$;

grant execute on function
  voice_clone.sweep_enrollments(int),
  voice_clone.begin_cleanup(uuid),
  voice_clone.end_cleanup(uuid, text, text, text, bigint),
  voice_clone.note_failed_cleanup(uuid, text),
  voice_clone.places(),
  voice_clone.orphans(),
  voice_clone.unaccounted_voices(text, text, text[], text[])
to voice_clone_backend;
grant execute on function operations.orphans() to service_role, voice_clone_backend;
