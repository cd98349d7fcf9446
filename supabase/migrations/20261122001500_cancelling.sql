-- Cancelling: superseded, reset, removed, its reflection deleted or of another owner. A result that comes later is an orphan.

-- One change by its user or by queueing at a time for a reflection: the reflection is locked before its attempts.
create function voice_clone.lock_reflection(p_reflection uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.reflections r where r.id = p_reflection and r.user_id = p_user for no key update;
  if not found then
    raise exception 'there is no such reflection' using errcode = 'VC004', detail = '{"field": "reflection_id"}';
  end if;
end
$$;

-- For a row that refers to the reflection: it is not deleted before the end of the transaction. Waits for nothing else.
create function voice_clone.keep_reflection(p_reflection uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.reflections r where r.id = p_reflection and r.user_id = p_user for key share;
  if not found then
    raise exception 'there is no such reflection' using errcode = 'VC004', detail = '{"field": "reflection_id"}';
  end if;
end
$$;

-- Locks attempts in the common order, by their ids, and returns those that there are.
create function voice_clone.lock_attempts(p_attempts uuid[]) returns uuid[]
language plpgsql security definer set search_path = ''
as $$
begin
  return (select coalesce(array_agg(locked.id), '{}') from (
    select a.id from public.voice_clone_attempts a where a.id = any (p_attempts) order by a.id for no key update
  ) locked);
end
$$;

-- Cancels the active attempt of a reflection (all of them when it is deleted or has another owner), or these attempts. The
-- attempt that used a voice which its user removed elsewhere says so. An attempt whose reflection is deleted loses it in the same
-- update: a second one, by the foreign key, would check the other foreign keys again, and wait for the user's row.
create function voice_clone.cancel_attempts(p_reason text, p_reflection uuid default null, p_attempts uuid[] default null)
returns int
language plpgsql security definer set search_path = ''
as $$
declare
  c_all constant boolean := p_reason in ('reflection_deleted', 'owner_changed');
  v_count int;
  v_attempts uuid[] := voice_clone.lock_attempts(array(
    select r.id from public.voice_clone_attempts r where r.reflection_id = p_reflection and (r.is_active or c_all)
    union all
    select unnest(p_attempts)));
begin
  perform voice_clone.lock_samples(array( -- those that go with their attempt (remove_unused_upload)
    select x.sample_id from public.voice_clone_attempts x
    where x.id = any (v_attempts) and x.status = 'awaiting_upload' and x.sample_id is not null));
  update public.voice_clone_attempts a
  set status = 'cancelled', is_active = false, cancel_reason = p_reason,
      reflection_id = case when p_reason <> 'reflection_deleted' then a.reflection_id end,
      error_code = case p_reason when 'original_removed' then 'original_removed' else a.error_code end,
      error_message = case p_reason when 'original_removed'
        then 'The voice that this one is a use of was deleted, or its consent revoked.' else a.error_message end,
      lease_epoch = a.lease_epoch + 1, lease_owner = null, lease_seconds = null
  where a.status in ('awaiting_upload', 'queued', 'processing', 'verifying', 'ready', 'failed')
    and a.id = any (v_attempts);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- The reflection is locked already: its application deletes it. All of its attempts and samples are locked at once, because the
-- foreign keys then clear their reflection_id. One statement may delete many reflections, so that it locks attempts in no order:
-- the shared lock on their owner's consents keeps a revocation, which locks attempts of many reflections, out meanwhile.
-- It does not wait for that lock, because the deletion of the user has it and waits for the reflections.
create function voice_clone.cancel_attempts_of_reflection() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_try_advisory_xact_lock_shared(hashtextextended('consents:' || old.user_id::text, 0));
  perform voice_clone.lock_attempts(array(
    select a.id from public.voice_clone_attempts a where a.reflection_id = old.id));
  perform voice_clone.lock_samples(array(select s.id from public.voice_samples s where s.reflection_id = old.id));
  perform voice_clone.cancel_attempts('reflection_deleted', p_reflection => old.id);
  return old;
end
$$;
create trigger voice_clone_cancel_attempts before delete on public.reflections
  for each row execute function voice_clone.cancel_attempts_of_reflection();

-- The reflection has no voice from now on; its attempts, their events and the voices stay. A second call changes nothing.
-- A worker that has the attempt loses its lease: a voice that it still makes becomes an orphan.
create function voice_clone.reset_attempt(p_reflection uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_reflection(p_reflection, p_user);
  perform voice_clone.cancel_attempts('reset', p_reflection => p_reflection);
  return query
    select * from public.voice_clone_attempts a
    where a.reflection_id = p_reflection and a.user_id = p_user and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1;
  if not found then
    raise exception 'this reflection never had a voice'
      using errcode = 'VC007', detail = '{"code": "nothing_to_reset"}',
            hint = 'An upload that is only opened need not be reset: it expires by itself.';
  end if;
end
$$;

grant execute on function voice_clone.reset_attempt(uuid, uuid) to voice_clone_backend;
