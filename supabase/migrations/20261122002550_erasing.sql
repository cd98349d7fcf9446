-- Erasing: a user is deleted in Auth. In the same transaction everything of theirs ends, is queued for removal and loses the
-- person. The consents stay as proof: their chain names the person by an id of its own.

create function voice_clone.erase_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempts uuid[];
begin
  perform voice_clone.lock_consents(old.id);
  perform from public.reflections r where r.user_id = old.id order by r.id for no key update;
  v_attempts := array(select a.id from public.voice_clone_attempts a where a.user_id = old.id);
  perform voice_clone.silence(v_attempts, old.id, 'user_deleted', array(
    select s.id from public.voice_samples s where s.user_id = old.id));
  perform voice_clone.withdraw(v_attempts);
  perform voice_clone.withdraw_employee_consents(old.id);
  perform voice_clone.request_object_removal(b.bucket, old.id::text)
  from unnest('{voice-samples,voice-previews,speeches}'::text[]) b (bucket);
  perform voice_clone.mirror_reflections(array(select r.id from public.reflections r where r.user_id = old.id));
  perform voice_clone.forget_user(old.id, v_attempts);
  return old;
end
$$;

-- The rows stay as a record without the person: no id of the user, no name, no path, nothing that was said.
create function voice_clone.forget_user(p_user uuid, p_attempts uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  delete from public.webhooks w where w.user_id = p_user;
  update public.voice_sessions s set user_id = null where s.user_id = p_user;
  update public.speech_jobs j set user_id = null where j.user_id = p_user;
  update public.voices v set user_id = null, name = 'deleted' where v.user_id = p_user;
  update public.voice_clone_attempts a set user_id = null, name = null, preview_path = null where a.user_id = p_user;
  update public.voice_samples s
  set user_id = null, transcript = null, name = null, path = 'removed/' || s.id,
      prepared_path = case when s.prepared_path is not null then 'removed/' || s.id end
  where s.user_id = p_user;
  update public.voice_consents c set user_id = null where c.user_id = p_user;
  update voice_clone.consent_chains k set user_id = null where k.user_id = p_user;
  update voice_clone.legacy_events e set payload = '{}'
  where e.attempt_id = any (p_attempts)
    or e.reflection_id in (select r.id from public.reflections r where r.user_id = p_user);
  perform set_config('voice_clone.erasing', 'on', true);
  update voice_clone.events e
  set changes = e.changes - '{name,preview_path}'::text[]
    || case when e.changes ? 'user_id' then jsonb '{"user_id": null}' else '{}' end
  where e.attempt_id = any (p_attempts) and e.changes ?| '{name,preview_path,user_id}';
  perform set_config('voice_clone.erasing', 'off', true);
end
$$;

-- Definer, because Auth deletes the row as a role that has no rights here.
create trigger voice_clone_erase_user before delete on auth.users
  for each row execute function voice_clone.erase_user();
