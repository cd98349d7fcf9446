-- Canaries: a voice that has not spoken for long is made to say a word, as part of the check of its account. That proves that it can, and keeps
-- it where a provider deletes what nobody uses. Nobody hears it. docs/decisions/0077-canaries.md

-- After a speech of any kind, also a preview. Written once a day at most, so that most speech costs no write; where another
-- transaction has the row, the next speech writes it.
create function voice_clone.note_speech(v public.voices) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if v.spoken_at > now() - interval '1 day' then
    return;
  end if;
  update public.voices x set spoken_at = now()
  where x.id in (
    select y.id from public.voices y
    where y.provider_voice_id = v.provider_voice_id and y.tts_provider = v.tts_provider and y.provider_region = v.provider_region
      and y.deleted_at is null and y.lost_at is null
    order by y.id for no key update skip locked);
end
$$;

-- Of the user's own voice, or one of an employee of theirs, after it spoke. Whether it is one.
create function voice_clone.note_speech_of(p_voice uuid, p_user uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v public.voices;
begin
  select * into v from public.voices x
  where x.id = p_voice and (x.user_id = p_user or x.org_id = any (array(
    select m.org_id from public.organization_members m where m.user_id = p_user and m.role::text = 'admin')));
  if not found then
    return false;
  end if;
  perform voice_clone.note_speech(v);
  return true;
end
$$;

-- Whether the voice may be deleted by its provider before the next quarter of that time is over.
create function voice_clone.is_hardly_used(v public.voices, p_unused_days int) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce(greatest(v.spoken_at, v.created_at) < now() - make_interval(days => p_unused_days) * 0.75, false);
end
$$;

-- Only a voice that we made: a stock voice is not ours to keep.
create function voice_clone.canary_is_due(v public.voices, p_canary interval, p_retry interval, p_unused_days int) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return v.enrollment_id is not null and p_canary is not null
    and (greatest(v.spoken_at, v.created_at) < now() - p_canary or voice_clone.is_hardly_used(v, p_unused_days))
    and coalesce(v.canary_at < now() - p_retry, true);
end
$$;

-- It did not speak when it was made to; or nothing makes it speak, and its provider may soon delete it.
create function voice_clone.is_silent(v public.voices, p_canary interval, p_unused_days int) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return v.enrollment_id is not null and (coalesce(v.canary_at > coalesce(v.spoken_at, '-infinity'), false)
    or (p_canary is null and voice_clone.is_hardly_used(v, p_unused_days)));
end
$$;

-- Before the call, and in a transaction of its own: a worker that dies meanwhile has made one call, and the next comes after the
-- timeout canary_retry. No row where the voice must not speak any more. former_at: for a call that said nothing of the voice.
create function voice_clone.begin_canary(p_check uuid, p_epoch int, p_voice uuid)
returns table (provider_voice_id text, target_model text, language text, former_at timestamptz)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  c voice_clone.voice_checks := voice_clone.require_voice_check(p_check, p_epoch);
begin
  return query
    with wanted as materialized (
      select v.id, v.canary_at from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id
      where v.id = p_voice and v.deleted_at is null and v.lost_at is null and v.enrollment_id is not null
        and a.status = 'ready' and a.taken_down_at is null
        and (v.tts_provider, v.provider_region, v.provider_account) = (c.provider, c.region, c.account)
      for no key update of v skip locked
    )
    update public.voices v set canary_at = now() from wanted w where v.id = w.id
    returning v.provider_voice_id, v.provider_target_model, v.language, w.canary_at;
end
$$;

-- It spoke, or the call failed in a way that says nothing of the voice: then it is as before. Not called where the provider refused.
create function voice_clone.end_canary(p_check uuid, p_epoch int, p_voice uuid, p_has_spoken boolean, p_former_at timestamptz) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_voice_check(p_check, p_epoch);
  if p_has_spoken then
    update public.voices v set spoken_at = now() where v.id = p_voice;
  else
    update public.voices v set canary_at = p_former_at where v.id = p_voice;
  end if;
end
$$;

grant execute on function
  voice_clone.note_speech_of(uuid, uuid),
  voice_clone.begin_canary(uuid, int, uuid),
  voice_clone.end_canary(uuid, int, uuid, boolean, timestamptz)
to voice_clone_backend;
