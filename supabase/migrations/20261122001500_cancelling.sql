-- Cancelling: superseded, reset, consent revoked, reflection or voice deleted. A result that comes later is an orphan.

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
language sql security definer set search_path = ''
as $$
  select coalesce(array_agg(locked.id), '{}') from (
    select a.id from public.voice_clone_attempts a where a.id = any (p_attempts) order by a.id for no key update
  ) locked
$$;

-- Cancels the active attempt of a reflection (all of them when it is deleted), or every attempt under a consent.
create function voice_clone.cancel_attempts(p_reason text, p_reflection uuid default null, p_consent uuid default null)
returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_count int;
  v_attempts uuid[] := voice_clone.lock_attempts(array(
    select r.id from public.voice_clone_attempts r
    where r.reflection_id = p_reflection and (r.is_active or p_reason = 'reflection_deleted')
    union all
    select c.id from public.voice_clone_attempts c join public.voice_samples s on s.id = c.sample_id
    where s.consent_id = p_consent));
begin
  update public.voice_clone_attempts a
  set status = 'cancelled', is_active = false, cancel_reason = p_reason,
      lease_epoch = a.lease_epoch + 1, lease_owner = null, lease_seconds = null
  where a.status in ('awaiting_upload', 'queued', 'processing', 'verifying', 'ready', 'failed')
    and a.id = any (v_attempts);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- The consent is revoked: every attempt with its samples is cancelled, and the voices made of them cannot be used.
-- The attempts are locked before their voices, and no reflection is: a locked reflection delays no revocation.
create function voice_clone.apply_revocation() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_attempts(array(
    select a.id from public.voice_clone_attempts a join public.voice_samples s on s.id = a.sample_id
    where s.consent_id = new.revokes));
  update public.voices v set deleted_at = now()
  from public.voice_clone_attempts a join public.voice_samples s on s.id = a.sample_id
  where v.attempt_id = a.id and s.consent_id = new.revokes and v.deleted_at is null;
  perform voice_clone.cancel_attempts('consent_revoked', p_consent => new.revokes);
  return null;
end
$$;
create trigger voice_consents_apply_revocation after insert on public.voice_consents
  for each row when (new.revokes is not null) execute function voice_clone.apply_revocation();

-- The reflection is locked already: its application deletes it. All of its attempts are locked at once, because the foreign
-- keys then clear their reflection_id. One statement may delete many reflections, so that it locks attempts in no order:
-- the shared lock on their owner's consents keeps a revocation, which locks attempts of many reflections, out meanwhile.
-- Who holds that lock exclusively waits for no reflection, so it is safe to wait for it here.
create function voice_clone.cancel_attempts_of_reflection() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_consents_shared(old.user_id);
  perform voice_clone.lock_attempts(array(
    select a.id from public.voice_clone_attempts a where a.reflection_id = old.id));
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
    where a.reflection_id = p_reflection and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1;
  if not found then
    raise exception 'this reflection never had a voice'
      using errcode = 'VC007', detail = '{"code": "nothing_to_reset"}',
            hint = 'An upload that is only opened need not be reset: it expires by itself.';
  end if;
end
$$;

-- Soft: the voice stays at the provider. The reflections that used it have no voice from now on.
create function voice_clone.delete_voice(p_voice uuid, p_user uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_attempts(array(select a.id from public.voice_clone_attempts a where a.voice_id = p_voice));
  update public.voices v set deleted_at = now()
  where v.id = p_voice and v.user_id = p_user and v.deleted_at is null;
  if not found then
    return false;
  end if;
  update public.voice_clone_attempts a
  set status = 'cancelled', is_active = false, cancel_reason = 'voice_deleted',
      lease_epoch = a.lease_epoch + 1, lease_owner = null, lease_seconds = null
  where a.voice_id = p_voice and a.status = 'ready';
  return true;
end
$$;

grant execute on function
  voice_clone.reset_attempt(uuid, uuid),
  voice_clone.delete_voice(uuid, uuid)
to voice_clone_backend;
