-- Custom voices: a voice that is at its provider already. Nothing is enrolled, so nothing is removed there later.
--
-- Where an enrollment made the voice, only the user who gave the sample may use it, while their own voice is not deleted
-- and the consent is valid. The attempt then names that sample, so that a revocation of the consent ends this voice
-- as well. Anyone may use a voice that no enrollment made.

-- is_usable is false for a voice of another user, and for one that no undeleted voice of this user owns. The label finds a
-- voice whose id was not reported yet. Sample and language are null where no enrollment made the voice.
create function voice_clone.find_custom_voice(p_user uuid, p_provider text, p_provider_voice_id text, p_label text)
returns table (is_usable boolean, sample_id uuid, language text)
language sql stable security definer set search_path = '' rows 1
as $$
  select coalesce(bool_and(v.id is not null), true), (array_agg(a.sample_id))[1], (array_agg(v.language))[1]
  from voice_clone.enrollments e
  left join public.voices v on v.attempt_id = e.attempt_id and v.enrollment_id = e.id and v.user_id = p_user and v.deleted_at is null
  left join public.voice_clone_attempts a on a.id = v.attempt_id
  where (e.provider = p_provider and e.provider_voice_id = p_provider_voice_id) or e.id = voice_clone.enrollment_id(p_label)
$$;

-- The sample whose consent covers the voice, null where it needs none, or an error. Volatile, because the check of the
-- consent must see the entry that it waited for.
create function voice_clone.check_custom_voice(
  p_user uuid, p_reflection uuid, p_provider text, p_provider_voice_id text, p_label text
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_found record;
begin
  select * into v_found from voice_clone.find_custom_voice(p_user, p_provider, p_provider_voice_id, p_label);
  if not v_found.is_usable then
    raise exception 'There is no such voice at this provider.' using errcode = 'VC006',
      detail = '{"code": "voice_not_found", "field": "provider_voice_id"}';
  end if;
  perform voice_clone.check_consent(s.consent_id, p_user, p_reflection)
  from public.voice_samples s where s.id = v_found.sample_id;
  return v_found.sample_id;
end
$$;

-- Queued at once: the service has asked the provider. The same call again returns the same attempt, unless it has failed,
-- so that a working voice is not superseded by itself. The consents are locked before the reflection and its attempts
-- (lock_consents_shared), or a revocation and this call could wait for each other.
create function voice_clone.use_custom_voice(
  p_attempt uuid, p_user uuid, p_reflection uuid, p_provider text, p_region text, p_provider_voice_id text, p_label text,
  p_target_model text, p_name text, p_language text, p_preview_required boolean, p_account text default ''
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  r public.reflections;
  a public.voice_clone_attempts;
  v_name text;
  v_sample uuid;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  select * into r from public.reflections x where x.id = p_reflection and x.user_id = p_user for no key update;
  if not found then
    raise exception 'there is no such reflection' using errcode = 'VC004', detail = '{"field": "reflection_id"}';
  end if;
  v_name := coalesce(p_name, voice_clone.reflection_name(r));
  v_sample := voice_clone.check_custom_voice(p_user, p_reflection, p_provider, p_provider_voice_id, p_label);
  select * into a from public.voice_clone_attempts x where x.reflection_id = p_reflection and x.user_id = p_user and x.is_active;
  if a.source = 'custom_voice' and 'failed' not in (a.status, a.runtime_status, a.preview_status)
    and (a.provider, a.region, a.account, a.provider_voice_id, a.target_model, a.name, a.language)
      = (p_provider, p_region, p_account, p_provider_voice_id, p_target_model, v_name, p_language)
  then
    return next a;
    return;
  end if;
  insert into public.voice_clone_attempts (id, user_id, reflection_id, sample_id, source, provider, region, account, provider_voice_id,
                               target_model, preview_status)
  values (p_attempt, p_user, p_reflection, v_sample, 'custom_voice', p_provider, p_region, p_account, p_provider_voice_id,
          p_target_model, case when p_preview_required then 'required' else 'not_required' end);
  return query select * from voice_clone.queue_attempt(
    p_attempt, p_user, v_name, p_language, null, 0);
end
$$;

-- The provider still has the voice: ready, without an enrollment. Its ownership is checked again, because an enrollment may
-- have reported it meanwhile. The consent is not: its revocation cancels the attempt, before this or after it.
create function voice_clone.attach_custom_voice(
  p_attempt uuid, p_epoch int, p_label text, p_message_id bigint, p_continue_to_sync boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  perform voice_clone.lock_user_of(p_attempt);
  a := voice_clone.require_lease(p_attempt, p_epoch, 'processing');
  if a.source <> 'custom_voice' then
    raise exception 'attempt % enrolls a sample', p_attempt using errcode = 'VC001';
  elsif not (select f.is_usable
          from voice_clone.find_custom_voice(a.user_id, a.provider, a.provider_voice_id, p_label) f) then
    raise exception 'There is no such voice at this provider.' using errcode = 'VC006',
      detail = '{"code": "voice_not_found", "field": "provider_voice_id"}';
  end if;
  perform voice_clone.add_custom_voice(a);
  perform voice_clone.acknowledge_messages('voice_clone_process', array[p_message_id]) where p_message_id is not null;
  return query select * from voice_clone.make_ready(
    a, a.provider_voice_id, a.target_model, a.account, a.request_id, p_continue_to_sync);
end
$$;

grant execute on function
  voice_clone.find_custom_voice(uuid, text, text, text),
  voice_clone.use_custom_voice(uuid, uuid, uuid, text, text, text, text, text, text, text, boolean, text),
  voice_clone.attach_custom_voice(uuid, int, text, bigint, boolean)
to voice_clone_backend;
