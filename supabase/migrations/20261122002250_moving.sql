-- Moving: a voice of the same sample, under the same consent, at another provider, region or account. The old voice keeps its
-- name and says where it moved; the new one says where it came from.
--
-- A reflection that may be launched with the old voice keeps it, and the new voice is made in its owner's library. Any other
-- reflection that has the old voice active gets the new attempt at once, by the ordinary rules (queue_attempt).

create function voice_clone.is_at(v public.voices, p_provider text, p_region text, p_accounts text[]) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return v.tts_provider = p_provider and v.provider_region = p_region
    and (v.provider_account = '' or v.provider_account = any (p_accounts));
end
$$;

-- Where a voice stands: movable; ready_beside, where it was moved and its reflection still has the old voice; or the code of what
-- forbids to move it to this place.
create function voice_clone.move_standing(v public.voices, p_provider text, p_region text, p_accounts text[]) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  s public.voice_samples;
  v_made public.voices;
begin
  select * into a from public.voice_clone_attempts x where x.id = v.attempt_id;
  select * into s from public.voice_samples x where x.id = a.sample_id;
  select * into v_made from public.voices x where x.id = v.moved_to and x.deleted_at is null and x.lost_at is null;
  return case
    when voice_clone.is_at(v, p_provider, p_region, p_accounts) then 'already_there'
    when exists (
      select from public.voice_clone_attempts x
      where x.voice_id = v.moved_to and x.status in ('queued', 'processing', 'verifying')) then 'move_in_progress'
    when v_made.id is not null and voice_clone.is_at(v_made, p_provider, p_region, p_accounts)
      then case when a.is_active and a.reflection_id is not null then 'ready_beside' else 'already_moved' end
    when a.sample_id is null then 'voice_without_sample'
    when s.status <> 'ready' then 'sample_missing'
    when not voice_clone.is_covered(a) then 'consent_required'
    when a.employee_id is not null and not a.is_active then 'voice_superseded'
    else 'movable' end;
end
$$;

-- Raises what a standing means for the caller of a move.
create function voice_clone.refuse_move(v public.voices, p_standing text) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if p_standing = 'consent_required' then
    raise exception 'the consent for the sample of this voice is not valid any more'
      using errcode = 'VC003', detail = '{"field": "voice_id"}', hint = 'Record a new sample.';
  elsif p_standing = 'sample_missing' then
    raise exception 'the sample of this voice was removed'
      using errcode = 'VC007', detail = '{"code": "sample_missing"}', hint = 'Record a new sample.';
  elsif p_standing = 'voice_without_sample' then
    raise exception 'this voice was made elsewhere, and no sample of it is kept here'
      using errcode = 'VC007', detail = '{"code": "voice_without_sample"}', hint = 'Record a sample.';
  elsif p_standing = 'already_there' then
    raise exception 'this voice is at that provider already'
      using errcode = 'VC007', detail = '{"code": "already_there"}', hint = 'Name another provider.';
  elsif p_standing = 'move_in_progress' then
    raise exception 'this voice is being moved'
      using errcode = 'VC007', detail = jsonb_build_object('code', 'move_in_progress', 'moved_to', v.moved_to)::text,
            hint = 'Wait until the new voice is ready, or has failed.';
  elsif p_standing <> 'movable' then
    raise exception 'this voice was moved there'
      using errcode = 'VC007', detail = jsonb_build_object('code', 'already_moved', 'moved_to', v.moved_to)::text,
            hint = 'Speak with the voice that moved_to names. With switch_now its reflection gets it.';
  end if;
end
$$;

-- Whether the reflection of a voice gets the new attempt at once: it has the voice active, or a move of it that failed, and may
-- not be launched, or its owner wants that. The caller has locked the reflection.
create function voice_clone.moves_with_reflection(v public.voices, p_reflection uuid, p_switch boolean) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select * into a from public.voice_clone_attempts x where x.reflection_id = p_reflection and x.is_active for no key update;
  return found and (a.id = v.attempt_id or a.voice_id is not distinct from v.moved_to)
    and (p_switch or voice_clone.launch_blockers(a.status, a.runtime_status, a.preview_status, a.error_code) <> '{}');
end
$$;

-- The reflection of a voice that was moved beside it gets the new voice, by the rules of an own voice that is used again: it is
-- superseded, synced and heard.
create function voice_clone.switch_to_moved(v public.voices, p_attempt uuid, p_preview_required boolean)
returns setof public.voice_clone_attempts
language sql security definer set search_path = ''
as $$
  select u.* from public.voices m
  join public.voice_clone_attempts a on a.id = v.attempt_id
  cross join lateral voice_clone.use_custom_voice(
    p_attempt, v.user_id, a.reflection_id, m.tts_provider, m.provider_region, m.provider_voice_id, null,
    m.provider_target_model, m.name, m.language, p_preview_required, m.provider_account) u
  where m.id = v.moved_to
$$;

-- The attempt that moves a voice. p_switch: its reflection changes over now, although it may be launched with the old voice. The
-- daily allowance does not count what an operator moves.
create function voice_clone.move_voice(
  p_attempt uuid, p_voice uuid, p_user uuid, p_provider text, p_region text, p_accounts text[], p_switch boolean,
  p_preview_required boolean, p_per_day int default null, p_is_operator boolean default false
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v public.voices;
  v_standing text;
  v_reflection uuid;
  v_sample public.voice_samples;
  v_new uuid;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  select a.reflection_id into v_reflection from public.voices x join public.voice_clone_attempts a on a.id = x.attempt_id
  where x.id = p_voice and x.user_id = p_user and x.deleted_at is null;
  if not found then
    raise exception 'there is no such voice' using errcode = 'VC004', detail = '{"field": "voice_id"}';
  end if;
  -- Null where the reflection is gone, or another user's by now.
  select r.id into v_reflection from public.reflections r where r.id = v_reflection and r.user_id = p_user for no key update;
  perform voice_clone.check_unfinished_attempts(p_user); -- whose lock lets one move of a user run at a time
  select * into v from public.voices x where x.id = p_voice;
  v_standing := voice_clone.move_standing(v, p_provider, p_region, p_accounts);
  if v_standing = 'ready_beside' and p_switch then
    return query select * from voice_clone.switch_to_moved(v, p_attempt, p_preview_required);
    return;
  end if;
  perform voice_clone.refuse_move(v, v_standing);
  perform voice_clone.require_daily_allowance(p_user, p_per_day);
  if not voice_clone.moves_with_reflection(v, v_reflection, p_switch) then
    v_reflection := null;
  end if;
  -- Attempts, the sample, the voice, then the deadlines: the common lock order.
  select s.* into v_sample from public.voice_samples s
  join public.voice_clone_attempts a on a.sample_id = s.id where a.id = v.attempt_id for no key update of s;
  if v_sample.status <> 'ready' then -- its retention ended meanwhile
    perform voice_clone.refuse_move(v, 'sample_missing');
  end if;
  perform from public.voices x where x.id = p_voice for no key update;
  insert into public.voice_clone_attempts (
    id, user_id, reflection_id, sample_id, source, provider, region, moved_from, preview_status)
  values (
    p_attempt, p_user, v_reflection, v_sample.id, case when p_is_operator then 'operator_move' else 'sample' end, p_provider,
    p_region, p_voice, case when p_preview_required and v_reflection is not null then 'required' else 'not_required' end)
  returning voice_id into v_new;
  return query select * from voice_clone.queue_attempt(
    p_attempt, p_user, v.name, v.language, v_sample.transcript, 0);
  update public.voices x set moved_to = v_new where x.id = p_voice;
end
$$;

-- For an operator: the voices of a provider that are not at this place, by their ids after p_after, and where each stands.
-- error_code is why the latest move of it failed.
create function voice_clone.voices_to_move(
  p_from text, p_provider text, p_region text, p_accounts text[], p_after uuid, p_limit int
) returns table (
  voice_id uuid, user_id uuid, employee_id uuid, region text, account text, language text, measures jsonb, standing text,
  moved_to uuid, error_code text
)
language sql stable security definer set search_path = ''
as $$
  select v.id, v.user_id, a.employee_id, v.provider_region, v.provider_account, v.language, s.measures,
    voice_clone.move_standing(v, p_provider, p_region, p_accounts), v.moved_to, n.error_code
  from public.voices v
  join public.voice_clone_attempts a on a.id = v.attempt_id
  left join public.voice_samples s on s.id = a.sample_id
  left join public.voice_clone_attempts n on n.voice_id = v.moved_to
  where v.tts_provider = p_from and v.deleted_at is null and not voice_clone.is_at(v, p_provider, p_region, p_accounts)
    and (p_after is null or v.id > p_after)
  order by v.id limit p_limit
$$;

-- How many voices may be spoken with, by where they are.
create function voice_clone.voices_by_place() returns table (provider text, region text, account text, voices bigint)
language sql stable security definer set search_path = ''
as $$
  select v.tts_provider, v.provider_region, v.provider_account, count(*) from public.voices v
  where v.deleted_at is null and v.lost_at is null group by 1, 2, 3 order by 1, 2, 3
$$;

grant execute on function
  voice_clone.move_voice(uuid, uuid, uuid, text, text, text[], boolean, boolean, int, boolean),
  voice_clone.voices_to_move(text, text, text, text[], uuid, int),
  voice_clone.voices_by_place()
to voice_clone_backend;
