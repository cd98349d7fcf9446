-- Voices brought over: reflections whose voice said ready before there were attempts. Each gets an attempt that took
-- the same edges as any other, so every invariant holds for it, and the gate asks for sync and preview.
--
-- After 20261121070000, without which two reflections could not share a voice.

set local lock_timeout = '5s';

-- The mirror compares versions; what is no version of its kind would keep it from ever being written.
set local role voice_clone_mirror;
update public.reflections r set voice = r.voice - 'version'
where r.voice ->> 'cloneStatus' = 'ready' and r.voice ->> 'version' !~ '^[0-9]{1,15}$';
reset role;

create temporary table voices_before (
  reflection_id uuid primary key,
  attempt_id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  name text not null,
  language text not null,
  version bigint not null,
  provider text,
  region text not null,
  provider_voice_id text,
  target_model text,
  is_cloned boolean -- the first of one person's reflections with this voice: its enrollment is the voice's
) on commit drop;

insert into voices_before
  (reflection_id, user_id, name, language, version, provider, region, provider_voice_id, target_model)
select r.id, r.user_id, r.name,
  coalesce(substring(r.voice ->> 'language' from '^[a-z]{2}$'), 'en'), coalesce((r.voice ->> 'version')::bigint, 0),
  coalesce(r.voice ->> 'provider', case
    when said.model like 'qwen%' then 'qwen' when said.model like 'eleven%' then 'elevenlabs' end),
  coalesce(r.voice ->> 'region', ''), nullif(said.voice, ''),
  coalesce(said.model, case r.voice ->> 'provider' -- the one that each was pinned to
    when 'qwen' then 'qwen3-tts-vc-2026-01-22' when 'elevenlabs' then 'eleven_multilingual_v2' end)
from public.reflections r
cross join lateral (select
  coalesce(r.voice ->> 'providerVoiceId', r.voice ->> 'provider_voice_id', r.voice ->> 'voiceId', r.voice ->> 'voice_id'),
  coalesce(r.voice ->> 'targetModel', r.voice ->> 'target_model', r.voice ->> 'model')
) said (voice, model)
where r.voice ->> 'cloneStatus' = 'ready'
  and not exists (select from public.attempts a where a.reflection_id = r.id and a.activated_at is not null);

-- A voice that several people use is a stock voice: nobody's, and anyone's.
update voices_before b
set is_cloned = not exists (
    select from voices_before o
    where (o.provider, o.region, o.provider_voice_id) = (b.provider, b.region, b.provider_voice_id)
      and (o.user_id <> b.user_id or o.reflection_id < b.reflection_id))
  and not exists (
    select from voice_clone.enrollments e
    where (e.provider, e.region, e.provider_voice_id) = (b.provider, b.region, b.provider_voice_id));

insert into public.attempts
  (id, user_id, reflection_id, source, name, language, provider, region, preview_status, version)
select b.attempt_id, b.user_id, b.reflection_id, 'legacy_outbox', b.name, b.language, coalesce(b.provider, 'unknown'),
  b.region, 'required', b.version + 1
from voices_before b;

do $$
declare
  b record;
  v_epoch int;
  v_enrollment uuid;
begin
  for b in select * from voices_before x where num_nulls(x.provider, x.provider_voice_id, x.target_model) = 0 loop
    -- A day's wait, so that no consumer is sent for work that is done.
    update public.attempts a set status = 'queued', is_active = true, not_before = now() + interval '1 day'
    where a.id = b.attempt_id;
    v_epoch := (voice_clone.claim_attempt(b.attempt_id, 'brought over', 60, 1000000, true)).lease_epoch;
    v_enrollment := null;
    if b.is_cloned then
      v_enrollment := voice_clone.intend_enrollment(
        b.attempt_id, v_epoch, 'old_' || left(replace(b.attempt_id::text, '-', ''), 12), 0);
      update voice_clone.enrollments e
      set status = 'attached', provider_voice_id = b.provider_voice_id, target_model = b.target_model
      where e.id = v_enrollment;
    end if;
    insert into public.voices
      (id, user_id, attempt_id, enrollment_id, name, language, provider, region, provider_voice_id, target_model)
    select a.voice_id, b.user_id, a.id, v_enrollment, b.name, b.language, b.provider, b.region,
      b.provider_voice_id, b.target_model
    from public.attempts a where a.id = b.attempt_id;
    update public.attempts a
    set status = 'ready', provider_voice_id = b.provider_voice_id, target_model = b.target_model,
        lease_owner = null, lease_expires_at = null
    where a.id = b.attempt_id;
  end loop;
end
$$;

-- Nobody can speak with a voice whose provider, id or model is not known: its mirror says none, and its attempt why.
update public.attempts a set status = 'cancelled', activated_at = now(), cancel_reason = 'legacy_incomplete'
from voices_before b
where a.id = b.attempt_id and num_nulls(b.provider, b.provider_voice_id, b.target_model) > 0;

select voice_clone.mirror_reflections(array_agg(b.reflection_id)) from voices_before b;
