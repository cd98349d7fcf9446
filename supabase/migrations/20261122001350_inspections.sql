-- Inspections: one at a time for an upload, over all processes. A lease that is not renewed may be taken over; the epoch only
-- grows, and what the former holder does then has no effect.

-- Before an upload is downloaded and decoded: the attempt is open, its consent is valid, it has a voice slot, and nobody else
-- inspects it. Returns the epoch of the lease. VC007 `inspection_in_progress` while another has it.
create function voice_clone.begin_inspection(p_attempt uuid, p_user uuid) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  u voice_clone.uploads;
begin
  select * into a from public.voice_clone_attempts x where x.id = p_attempt and x.user_id = p_user;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004';
  end if;
  perform voice_clone.check_consent(s.consent_id, p_user, a.reflection_id)
  from public.voice_samples s where s.id = a.sample_id;
  if a.status = 'awaiting_upload' and not voice_clone.has_slot_reservation(p_attempt) then
    perform voice_clone.require_slot(a.provider, a.region, a.reflection_id);
  end if;
  select * into u from voice_clone.uploads x where x.attempt_id = p_attempt for no key update;
  if not found then
    raise exception 'attempt % awaits no upload: it is %', p_attempt, a.status using errcode = 'VC001';
  end if;
  if u.inspected_until > now() then
    raise exception 'this upload is being inspected' using errcode = 'VC007',
      detail = '{"code": "inspection_in_progress", "field": "voice_id", "retry_after": 2}',
      hint = 'Send the same call again a little later.';
  end if;
  update voice_clone.uploads x
  set inspection_epoch = u.inspection_epoch + 1,
      inspected_until = now() + voice_clone.timeout('inspection_lease'),
      reserved_until = greatest(u.reserved_until, now() + voice_clone.timeout('slot_reservation'))
  where x.attempt_id = p_attempt;
  return u.inspection_epoch + 1;
end
$$;

-- Whether the lease was still this one's; it then lasts its whole time again. A lease that is over and that nobody took counts.
create function voice_clone.renew_inspection(p_attempt uuid, p_epoch int) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.uploads u set inspected_until = now() + voice_clone.timeout('inspection_lease')
  where u.attempt_id = p_attempt and u.inspection_epoch = p_epoch;
  return found;
end
$$;

-- Ends the lease, so that the next call need not wait for its time.
create function voice_clone.end_inspection(p_attempt uuid, p_epoch int) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.uploads u set inspected_until = null
  where u.attempt_id = p_attempt and u.inspection_epoch = p_epoch;
end
$$;

-- In the transaction that relies on the inspection. VC002 where another has taken over.
create function voice_clone.require_inspection(p_attempt uuid, p_epoch int) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from voice_clone.uploads u where u.attempt_id = p_attempt and u.inspection_epoch = p_epoch for no key update;
  if not found then
    raise exception 'another call inspects this upload now' using errcode = 'VC002';
  end if;
end
$$;

grant execute on function
  voice_clone.begin_inspection(uuid, uuid),
  voice_clone.renew_inspection(uuid, int),
  voice_clone.end_inspection(uuid, int)
to voice_clone_backend;
