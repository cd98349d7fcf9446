-- Retrying elsewhere: the same consented sample at another provider, because the owner says so.

-- A new attempt, which supersedes the failed one. The owner's retries count on: another provider is no new budget.
-- p_failed is the attempt that the caller looked at; another one's sample was not checked against this provider.
create function voice_clone.retry_elsewhere(
  p_attempt uuid, p_reflection uuid, p_user uuid, p_failed uuid, p_provider text, p_region text,
  p_preview_required boolean
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts;
  v_sample public.samples;
begin
  perform voice_clone.hold_consents(p_user);
  perform voice_clone.lock_reflection(p_reflection, p_user);
  select * into a from public.attempts x where x.reflection_id = p_reflection and x.is_active for no key update;
  perform voice_clone.require_retry(a);
  if a.id is distinct from p_failed then
    raise exception 'another attempt has taken its place'
      using errcode = 'VC007', detail = voice_clone.refusal('attempt_superseded', a), hint = 'Look again, and retry that one.';
  elsif (a.provider, a.region) = (p_provider, p_region) then
    return query select * from voice_clone.retry_attempt(p_reflection, p_user);
    return;
  end if;
  select * into v_sample from public.samples s where s.id = a.sample_id and s.measures is not null;
  if not found then
    raise exception 'this voice was made of no sample that another provider could take'
      using errcode = 'VC007', detail = voice_clone.refusal('sample_missing', a),
            hint = 'Clone one with POST /v1/reflections/{id}/voice/clone.';
  end if;
  perform voice_clone.check_consent(v_sample.consent_id, p_user, p_reflection);
  insert into public.attempts (
    id, user_id, reflection_id, sample_id, source, provider, region, preview_status, user_retry_count, user_retry_budget)
  values (
    p_attempt, p_user, p_reflection, a.sample_id, case a.source when 'custom_voice' then 'sample' else a.source end,
    p_provider, p_region, case when p_preview_required then 'required' else 'not_required' end,
    a.user_retry_count + 1, a.user_retry_budget);
  return query select * from voice_clone.queue_attempt(
    p_attempt, p_user, a.name, a.language, v_sample.transcript, null, null, null, null, null, 0);
end
$$;

grant execute on function voice_clone.retry_elsewhere(uuid, uuid, uuid, uuid, text, text, boolean) to voice_clone_backend;
