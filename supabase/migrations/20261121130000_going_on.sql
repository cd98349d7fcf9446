-- Going on: a worker that made a voice ready does the first runtime sync as well, under the lease it has.
--
-- With p_goes_on the attempt of a reflection is ready and syncing in one transition, so there is no message, no
-- second claim and no wait between the two. Where the worker dies, the lease ends and the sweep gives the sync back,
-- like any other. Without it, and for an attempt that is for no reflection, the lease ends and the message is sent.

set local lock_timeout = '5s';

drop function voice_clone.attach_voice(uuid, int, uuid, text, text, text, bigint);
drop function voice_clone.attach_custom_voice(uuid, int, text, bigint);

-- Ready, and the lease goes on where there is a runtime to be told and the worker is going to.
create function voice_clone.make_ready(
  a public.attempts, p_voice text, p_target_model text, p_request_id text, p_goes_on boolean
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_syncs boolean := p_goes_on and a.reflection_id is not null and a.runtime_status = 'pending';
begin
  return query
    update public.attempts x
    set status = 'ready', provider_voice_id = p_voice, target_model = p_target_model, request_id = p_request_id,
        error_code = null, error_message = null,
        runtime_status = case when v_syncs then 'syncing' else x.runtime_status end,
        sync_count = x.sync_count + v_syncs::int,
        lease_owner = case when v_syncs then x.lease_owner end,
        lease_expires_at = case when v_syncs then x.lease_expires_at end
    where x.id = a.id
    returning *;
end
$$;

create function voice_clone.attach_voice(
  p_attempt uuid, p_epoch int, p_enrollment uuid, p_voice text, p_target_model text, p_request_id text, p_message bigint,
  p_goes_on boolean default false
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts := voice_clone.hold_lease(p_attempt, p_epoch, 'processing');
begin
  update voice_clone.enrollments e
  set status = 'attached', provider_voice_id = p_voice, target_model = p_target_model,
      request_id = coalesce(p_request_id, e.request_id)
  where e.id = p_enrollment and e.attempt_id = p_attempt;
  if not found then
    raise exception 'attempt % has no enrollment %', p_attempt, p_enrollment using errcode = 'VC004';
  end if;
  insert into public.voices (id, user_id, attempt_id, enrollment_id, name, language, provider, region, provider_voice_id, target_model)
  values (a.voice_id, a.user_id, a.id, p_enrollment, a.name, a.language, a.provider, a.region, p_voice, p_target_model);
  perform voice_clone.archive_messages('voice_clone_process', array[p_message]) where p_message is not null;
  return query select * from voice_clone.make_ready(a, p_voice, p_target_model, p_request_id, p_goes_on);
end
$$;

create function voice_clone.attach_custom_voice(
  p_attempt uuid, p_epoch int, p_label text, p_message bigint, p_goes_on boolean default false
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts := voice_clone.hold_lease(p_attempt, p_epoch, 'processing');
begin
  if not (select f.is_usable
          from voice_clone.find_custom_voice(a.user_id, a.provider, a.provider_voice_id, p_label) f) then
    raise exception 'There is no such voice at this provider.' using errcode = 'VC006',
      detail = '{"code": "voice_not_found", "field": "provider_voice_id"}';
  end if;
  insert into public.voices (id, user_id, attempt_id, name, language, provider, region, provider_voice_id, target_model)
  values (a.voice_id, a.user_id, a.id, a.name, a.language, a.provider, a.region, a.provider_voice_id, a.target_model);
  perform voice_clone.archive_messages('voice_clone_process', array[p_message]) where p_message is not null;
  return query select * from voice_clone.make_ready(a, a.provider_voice_id, a.target_model, a.request_id, p_goes_on);
end
$$;

grant execute on function
  voice_clone.attach_voice(uuid, int, uuid, text, text, text, bigint, boolean),
  voice_clone.attach_custom_voice(uuid, int, text, bigint, boolean)
to voice_clone_backend;
