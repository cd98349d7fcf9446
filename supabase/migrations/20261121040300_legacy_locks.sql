-- Judging, anew: whoever relies on a consent shares the ledger's lock before any lock on a reflection
-- (standing_consents), or a withdrawal and this could wait for each other. Locks event, ledger, reflection.

create or replace function voice_clone.judge_legacy_event(p_event uuid) returns voice_clone.legacy_decision
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.legacy_events;
  r public.reflections;
  v_consent uuid;
begin
  select * into e from voice_clone.legacy_events x where x.id = p_event for update;
  if e.outcome in ('accepted', 'skipped') then
    return (e.id, e.outcome, e.code, e.message, e.attempt_id, null, null, null)::voice_clone.legacy_decision;
  end if;
  perform voice_clone.hold_consents(x.user_id) from public.reflections x where x.id = e.reflection_id;
  select * into r from public.reflections x where x.id = e.reflection_id for no key update;
  v_consent := voice_clone.consent_for(r.user_id, r.id);
  if r.id is null then
    return voice_clone.decide_legacy_event(e.id, 'refused', 'reflection_not_found', 'There is no such reflection.');
  elsif exists (select from public.attempts a where a.reflection_id = r.id and a.is_active) then
    return voice_clone.decide_legacy_event(
      e.id, 'skipped', 'attempt_active', 'The reflection has an active attempt, which goes on undisturbed.');
  elsif jsonb_typeof(e.payload -> 'recording') is distinct from 'object' then
    return voice_clone.decide_legacy_event(e.id, 'skipped', 'no_recording', 'The event has no recording to clone.');
  elsif v_consent is null then
    return voice_clone.decide_legacy_event(
      e.id, 'refused', 'consent_required', 'Its owner has not consented to a clone of this voice, or has withdrawn it.');
  end if;
  return (e.id, 'received', null, null, null, r.user_id, r.name, v_consent)::voice_clone.legacy_decision;
end
$$;
