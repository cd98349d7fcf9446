-- Verified outside: an operator or a webhook says how a verification ended, before the next look would.

-- Saying the same again changes nothing; what contradicts an answer that counts raises VC001. p_voice, where
-- given, is the provider's voice that was verified: an answer about an earlier one does not count for this one.
create function voice_clone.settle_verification(
  p_attempt uuid, p_verified boolean, p_voice text, p_code text, p_message text
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts;
  v_answered boolean;
begin
  select * into a from public.attempts x where x.id = p_attempt for no key update;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004';
  end if;
  v_answered := a.is_active and coalesce(a.verifying_at >= a.processing_at, false) and case
    when p_verified then a.status = 'ready' else a.status = 'failed' end;
  if not v_answered and (a.status <> 'verifying' or not a.is_active) then
    raise exception 'this attempt awaits no verification: it is %', a.status
      using errcode = 'VC001', detail = jsonb_build_object('status', a.status)::text;
  elsif p_voice <> a.provider_voice_id then
    raise exception 'this attempt has another voice by now' using errcode = 'VC001',
      detail = '{"code": "voice_superseded", "field": "provider_voice_id"}';
  elsif v_answered then
    null;
  elsif p_verified then
    perform voice_clone.make_verified(a);
  else
    perform voice_clone.fail_verification(a, p_code, p_message);
  end if;
  return query select * from public.attempts x where x.id = p_attempt;
end
$$;

grant execute on function voice_clone.settle_verification(uuid, boolean, text, text, text) to voice_clone_backend;
