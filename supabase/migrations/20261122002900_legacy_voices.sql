-- Legacy voices: reflections whose `voice` says ready although no attempt made it. Each gets an attempt that takes the
-- same edges as any other, so every invariant holds for it, and the launch gate requires sync and preview.
-- The operator's command import-legacy-voices calls the functions of `operations`.

-- What is left to import. `outcome` says how: ready, or incomplete where the provider, the id or the model is unknown,
-- so that nobody can speak with the voice. `is_clone`: the first of one person's reflections with this voice; its
-- enrollment is the voice's. A voice that several people use is a stock voice: no one owns it, and anyone may use it.
create function voice_clone.legacy_voices()
returns table (
  reflection_id uuid, user_id uuid, name text, language text, version bigint, provider text, region text,
  provider_voice_id text, target_model text, outcome text, is_clone boolean)
language sql stable security definer set search_path = ''
as $$
  with stated as (
    select r.id as reflection_id, r.user_id, voice_clone.reflection_name(r) as name,
      coalesce(substring(r.voice ->> 'language' from '^[a-z]{2}$'), 'en') as language,
      voice_clone.shown_version(r.voice) as version,
      coalesce(r.voice ->> 'provider', case
        when v.model like 'qwen%' then 'qwen' when v.model like 'eleven%' then 'elevenlabs'
        when v.model like 'sonic%' then 'cartesia' end) as provider,
      coalesce(r.voice ->> 'region', '') as region, nullif(v.voice, '') as provider_voice_id,
      coalesce(v.model, case r.voice ->> 'provider' -- the model that each provider was pinned to
        when 'qwen' then 'qwen3-tts-vc-2026-01-22' when 'elevenlabs' then 'eleven_multilingual_v2'
        when 'cartesia' then 'sonic-3.5' end) as target_model
    from public.reflections r
    cross join lateral (select
      coalesce(r.voice ->> 'providerVoiceId', r.voice ->> 'provider_voice_id', r.voice ->> 'voiceId', r.voice ->> 'voice_id'),
      coalesce(r.voice ->> 'targetModel', r.voice ->> 'target_model', r.voice ->> 'model')
    ) v (voice, model)
    where r.voice ->> 'cloneStatus' = 'ready'
      and not exists (select from public.voice_clone_attempts a where a.reflection_id = r.id and a.activated_at is not null)
  ), shared as (
    select s.*, min(s.user_id::text) over same_voice = max(s.user_id::text) over same_voice
        and row_number() over (partition by s.provider, s.region, s.provider_voice_id order by s.reflection_id) = 1
        as is_first_of_one_user
    from stated s
    window same_voice as (partition by s.provider, s.region, s.provider_voice_id)
  )
  select s.reflection_id, s.user_id, s.name, s.language, s.version, s.provider, s.region, s.provider_voice_id, s.target_model,
    case num_nulls(s.provider, s.provider_voice_id, s.target_model) when 0 then 'ready' else 'incomplete' end,
    s.is_first_of_one_user and num_nulls(s.provider, s.provider_voice_id, s.target_model) = 0
      and not exists (
        select from voice_clone.enrollments e
        where (e.provider, e.region, e.provider_voice_id) = (s.provider, s.region, s.provider_voice_id))
      and not exists (
        select from public.voices v
        where (v.tts_provider, v.provider_region, v.provider_voice_id) = (s.provider, s.region, s.provider_voice_id)
          and v.user_id <> s.user_id)
  from shared s
  order by s.reflection_id
$$;

-- One reflection: a row of legacy_voices, which the caller has locked.
create function voice_clone.import_legacy_voice(p_legacy record) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt uuid := gen_random_uuid();
  v_epoch int;
  v_enrollment uuid;
  a public.voice_clone_attempts;
  e voice_clone.enrollments;
begin
  if p_legacy.user_id is null then
    raise exception 'the reflection has no owner' using errcode = 'VC004';
  end if;
  insert into public.voice_clone_attempts
    (id, user_id, reflection_id, source, name, language, provider, region, provider_voice_id, target_model,
     preview_status, version)
  values
    (v_attempt, p_legacy.user_id, p_legacy.reflection_id, 'legacy_outbox', p_legacy.name, p_legacy.language,
     coalesce(p_legacy.provider, 'unknown'), p_legacy.region, p_legacy.provider_voice_id, p_legacy.target_model,
     'required', p_legacy.version + 1);
  if p_legacy.outcome = 'incomplete' then -- the mirror says none, and the attempt says why
    update public.voice_clone_attempts x
    set status = 'cancelled', activated_at = now(), cancel_reason = 'legacy_incomplete'
    where x.id = v_attempt;
    return;
  end if;
  -- A day's wait, so that no message is sent for work that is done.
  update public.voice_clone_attempts x set status = 'queued', is_active = true, not_before = now() + interval '1 day'
  where x.id = v_attempt;
  v_epoch := (voice_clone.claim_attempt(v_attempt, 'import', 60, 1000000, true)).lease_epoch;
  if p_legacy.is_clone then
    v_enrollment := voice_clone.intend_enrollment(
      v_attempt, v_epoch, 'old_' || left(replace(v_attempt::text, '-', ''), 12),
      case p_legacy.provider when 'qwen' then 'vc' when 'elevenlabs' then 'ivc' when 'cartesia' then 'instant' else 'custom' end, 0);
    e := voice_clone.attach_enrollment(
      v_enrollment, v_attempt, p_legacy.provider_voice_id, p_legacy.target_model, null, null, null);
  end if;
  select * into a from public.voice_clone_attempts x where x.id = v_attempt;
  if p_legacy.is_clone then
    perform voice_clone.add_enrolled_voice(a, e);
  else
    perform voice_clone.add_custom_voice(a);
  end if;
  update public.voice_clone_attempts x set status = 'ready', lease_owner = null, lease_seconds = null
  where x.id = v_attempt;
end
$$;

-- The next page of legacy voices after a reflection, in the order of the reflections' ids. A row that cannot be imported
-- is reported with its error and stops no other. Safe to interrupt and to repeat: what was imported is left out.
create function operations.import_legacy_voices(p_after uuid, p_limit int)
returns table (reflection_id uuid, user_id uuid, provider text, provider_voice_id text, outcome text, error text)
language plpgsql security definer set search_path = ''
as $$
declare
  v_page uuid[];
  v_legacy record;
begin
  select array_agg(page.id) into v_page
  from (select l.reflection_id from voice_clone.legacy_voices() l
        where l.reflection_id > p_after or p_after is null limit p_limit) page (id);
  perform from auth.users u where u.id in (select r.user_id from public.reflections r where r.id = any (v_page))
  order by u.id for key share; -- before the reflections: see lock_user
  -- All of them before anything else, and in one order, like every other writer of several reflections.
  perform from public.reflections r where r.id = any (v_page) order by r.id for no key update;
  for v_legacy in
    select l.* from voice_clone.legacy_voices() l where l.reflection_id = any (v_page)
  loop
    outcome := v_legacy.outcome;
    error := null;
    begin
      perform voice_clone.import_legacy_voice(v_legacy);
      perform voice_clone.mirror_reflections(array[v_legacy.reflection_id]);
    exception when others then
      outcome := 'error';
      error := format('%s (%s)', sqlerrm, sqlstate);
    end;
    reflection_id := v_legacy.reflection_id;
    user_id := v_legacy.user_id;
    provider := v_legacy.provider;
    provider_voice_id := v_legacy.provider_voice_id;
    return next;
  end loop;
end
$$;

-- What is left to import, page by page; read only.
create function operations.legacy_voices(p_after uuid, p_limit int)
returns table (reflection_id uuid, user_id uuid, provider text, provider_voice_id text, outcome text)
language sql stable security definer set search_path = ''
as $$
  select l.reflection_id, l.user_id, l.provider, l.provider_voice_id, l.outcome
  from voice_clone.legacy_voices() l
  where l.reflection_id > p_after or p_after is null
  order by l.reflection_id limit p_limit
$$;

revoke all on function
  operations.legacy_voices(uuid, int), operations.import_legacy_voices(uuid, int)
from public, anon, authenticated;
grant execute on function
  operations.legacy_voices(uuid, int), operations.import_legacy_voices(uuid, int)
to service_role, voice_clone_backend;
