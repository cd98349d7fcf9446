-- Erasing: everything of a user, an employee or a voice ends in one transaction, is queued for removal and loses the person. A user
-- asks for it, an operator does, or the user is deleted in Auth. The consents stay as proof: their chain names the person by an
-- id of its own.

create function voice_clone.erase_user(p_user uuid, p_by text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_buckets text[] := '{voice-samples,voice-previews,speeches}';
  v_attempts uuid[];
  v_reflections uuid[];
  v_erasure uuid;
begin
  perform from auth.users u where u.id = p_user for key share; -- first, as where the user is deleted
  perform voice_clone.lock_consents(p_user);
  v_reflections := array(select r.id from public.reflections r where r.user_id = p_user order by r.id for no key update);
  v_attempts := array(select a.id from public.voice_clone_attempts a where a.user_id = p_user);
  update voice_clone.legacy_events e set payload = '{}'
  where e.attempt_id = any (v_attempts) or e.reflection_id = any (v_reflections);
  perform voice_clone.silence(v_attempts, p_user, 'user_deleted', array(
    select s.id from public.voice_samples s where s.user_id = p_user));
  perform voice_clone.withdraw(v_attempts);
  perform voice_clone.withdraw_employee_consents(p_user);
  perform voice_clone.request_object_removal(b.bucket, p_user::text) from unnest(v_buckets) b (bucket);
  perform voice_clone.mirror_reflections(v_reflections);
  perform voice_clone.forget_user(p_user, v_attempts);
  v_erasure := voice_clone.record_erasure('user', p_user, p_by, v_attempts, v_buckets, p_user::text);
  -- A call that is being answered keeps its key: the answer goes with the key, in a day.
  delete from voice_clone.idempotency_keys k where k.id in (
    select x.id from voice_clone.idempotency_keys x where x.user_id = p_user for update skip locked);
  insert into voice_clone.erasure_places (erasure_id, place, ref, name)
  select v_erasure, 'answers', k.id, 'answers kept for repeated requests'
  from voice_clone.idempotency_keys k where k.user_id = p_user;
  update voice_clone.erasure_places p set confirmed_at = now()
  where p.erasure_id = v_erasure and p.place = 'database' and not voice_clone.has_rows_of_user(p_user, v_attempts);
  return v_erasure;
end
$$;

-- Reads again each table in which a row could name this user.
create function voice_clone.has_rows_of_user(p_user uuid, p_attempts uuid[]) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select from public.voice_clone_attempts x where x.user_id = p_user)
    or exists (select from public.voice_samples x where x.user_id = p_user)
    or exists (select from public.voices x where x.user_id = p_user)
    or exists (select from public.voice_sessions x where x.user_id = p_user)
    or exists (select from public.speech_jobs x where x.user_id = p_user)
    or exists (select from public.voice_consents x where x.user_id = p_user)
    or exists (select from public.webhooks x where x.user_id = p_user)
    or exists (select from voice_clone.consent_chains x where x.user_id = p_user)
    or exists (select from voice_clone.events x where x.attempt_id = any (p_attempts)
      and (x.changes ->> 'user_id' = p_user::text or x.changes ? 'name'))
$$;

create function voice_clone.erase_deleted_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.erase_user(old.id, 'auth');
  return old;
end
$$;

-- The rows stay as a record without the person: no id of the user or of a reflection, no name, no path, nothing that was said.
create function voice_clone.forget_user(p_user uuid, p_attempts uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  delete from public.webhooks w where w.user_id = p_user;
  update public.voice_sessions s set user_id = null, reflection_id = null where s.user_id = p_user;
  update public.speech_jobs j set user_id = null where j.user_id = p_user;
  update public.voices v set user_id = null, name = 'deleted' where v.user_id = p_user;
  update public.voice_clone_attempts a set user_id = null, reflection_id = null, name = null, preview_path = null
  where a.user_id = p_user;
  update public.voice_samples s
  set user_id = null, reflection_id = null, transcript = null, name = null, path = 'removed/' || s.id,
      prepared_path = case when s.prepared_path is not null then 'removed/' || s.id end
  where s.user_id = p_user;
  update public.voice_consents c set user_id = null where c.user_id = p_user;
  update voice_clone.consent_chains k set user_id = null where k.user_id = p_user;
  perform set_config('voice_clone.erasing', 'on', true);
  update voice_clone.events e
  set changes = e.changes - '{name,preview_path}'::text[]
    || case when e.changes ? 'user_id' then jsonb '{"user_id": null}' else '{}' end
    || case when e.changes ? 'reflection_id' then jsonb '{"reflection_id": null}' else '{}' end
  where e.attempt_id = any (p_attempts) and e.changes ?| '{name,preview_path,user_id,reflection_id}';
  perform set_config('voice_clone.erasing', 'off', true);
end
$$;

-- Definer, because Auth deletes the row as a role that has no rights here.
create trigger voice_clone_erase_user before delete on auth.users
  for each row execute function voice_clone.erase_deleted_user();

-- An employee: the row, their voices, recordings and consents.
create function voice_clone.erase_employee(p_employee uuid, p_by text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempts uuid[];
  v_erasure uuid;
begin
  perform voice_clone.lock_consents(p_employee);
  perform from public.employees e where e.id = p_employee for update;
  v_attempts := array(select a.id from public.voice_clone_attempts a where a.employee_id = p_employee);
  delete from public.employees e where e.id = p_employee; -- voices and recordings go by voice_clone_remove_voices
  perform voice_clone.request_object_removal('recordings', p_employee::text);
  v_erasure := voice_clone.record_erasure('employee', p_employee, p_by, v_attempts, '{recordings}', p_employee::text);
  insert into voice_clone.erasure_places (erasure_id, place, ref, name) values (v_erasure, 'file', v_erasure, 'deep-fakes');
  update voice_clone.erasure_places p set confirmed_at = now()
  where p.erasure_id = v_erasure and p.place = 'database'
    and not exists (select from public.employees e where e.id = p_employee)
    and not exists (select from public.voice_clone_attempts a where a.employee_id = p_employee);
  return v_erasure;
end
$$;

-- One voice: its recording, its previews, and the voice at its provider at once and not after its retention.
create function voice_clone.erase_voice(p_voice uuid, p_by text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v public.voices;
  v_erasure uuid;
begin
  select * into v from public.voices x where x.id = p_voice;
  if v.user_id is not null then
    perform voice_clone.lock_user(v.user_id); -- a row that is updated twice has its foreign keys checked again
    perform voice_clone.lock_consents(v.user_id);
    perform voice_clone.silence(array[v.attempt_id], v.user_id, 'voice_deleted');
  end if;
  perform voice_clone.withdraw(array[v.attempt_id]);
  update public.voices x set name = 'deleted' where x.id = p_voice;
  v_erasure := voice_clone.record_erasure(
    'voice', p_voice, p_by, array[v.attempt_id], '{voice-previews}', v.user_id || '/' || v.attempt_id);
  update voice_clone.erasure_places p set confirmed_at = now()
  where p.erasure_id = v_erasure and p.place = 'database'
    and not exists (select from public.voices x where x.id = p_voice and (x.deleted_at is null or x.name <> 'deleted'));
  return v_erasure;
end
$$;

-- For operators. The same twice is two entries, and the second finds nothing left.
create function operations.erase(p_kind text, p_subject uuid, p_by text default 'operator') returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_erasure uuid;
begin
  v_erasure := case p_kind
    when 'user' then voice_clone.erase_user(p_subject, p_by)
    when 'employee' then voice_clone.erase_employee(p_subject, p_by)
    when 'voice' then voice_clone.erase_voice(p_subject, p_by)
  end;
  if v_erasure is null then
    raise exception 'a user, an employee or a voice can be erased, and no %', p_kind using errcode = 'VC006';
  end if;
  return voice_clone.erasure_receipt(v_erasure);
end
$$;

-- A receipt, after a look at what is not confirmed yet.
create function operations.erasure(p_erasure uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.confirm_erasure(p_erasure);
  return voice_clone.erasure_receipt(p_erasure);
end
$$;

-- The ledger, the oldest first, after the entry p_after.
create function operations.erasures(p_after uuid default null, p_limit int default 1000)
returns table (id uuid, kind text, subject_hash text, requested_by text, requested_at timestamptz, completed_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select x.id, x.kind, encode(x.subject_hash, 'hex'), x.requested_by, x.requested_at, x.completed_at
  from voice_clone.erasures x
  where p_after is null or (x.requested_at, x.id) > (select y.requested_at, y.id from voice_clone.erasures y where y.id = p_after)
  order by x.requested_at, x.id limit least(greatest(p_limit, 1), 10000)
$$;

-- Who of these hashes is there again, as after a backup was restored: users, employees, and voices that are not deleted.
create function operations.subjects_of_erasures(p_hashes text[])
returns table (kind text, subject uuid)
language sql stable security definer set search_path = ''
as $$
  with wanted as materialized (select decode(h, 'hex') as hash from unnest(p_hashes) h)
  select 'user', u.id from auth.users u join wanted w on w.hash = voice_clone.subject_hash('user', u.id)
  where voice_clone.has_rows_of_user(u.id, '{}')
  union all
  select 'employee', e.id from public.employees e join wanted w on w.hash = voice_clone.subject_hash('employee', e.id)
  union all
  select 'voice', v.id from public.voices v join wanted w on w.hash = voice_clone.subject_hash('voice', v.id)
  where v.deleted_at is null
$$;

-- For the service. Where nothing of the user is held since the last erasure, its receipt, so that calls in a loop add no entries.
create function voice_clone.request_erasure(p_user uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_erasure uuid;
begin
  if not voice_clone.has_rows_of_user(p_user, '{}') then
    select x.id into v_erasure from voice_clone.erasures x
    where x.subject_hash = voice_clone.subject_hash('user', p_user) order by x.requested_at desc limit 1;
  end if;
  v_erasure := coalesce(v_erasure, voice_clone.erase_user(p_user, 'user'));
  return voice_clone.erasure_receipt(v_erasure);
end
$$;

-- For the service: the receipt of the caller's own erasure.
create function voice_clone.erasure_of_user(p_erasure uuid, p_user uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  if not exists (select from voice_clone.erasures x
    where x.id = p_erasure and x.subject_hash = voice_clone.subject_hash('user', p_user))
  then
    return null;
  end if;
  perform voice_clone.confirm_erasure(p_erasure);
  return voice_clone.erasure_receipt(p_erasure);
end
$$;

revoke all on function
  operations.erase(text, uuid, text), operations.erasure(uuid), operations.erasures(uuid, int),
  operations.subjects_of_erasures(text[])
from public, anon, authenticated;
grant execute on function
  operations.erase(text, uuid, text), operations.erasure(uuid), operations.erasures(uuid, int),
  operations.subjects_of_erasures(text[])
to service_role;
grant execute on function voice_clone.request_erasure(uuid), voice_clone.erasure_of_user(uuid, uuid)
to voice_clone_backend;
