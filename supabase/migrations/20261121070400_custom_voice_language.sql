-- Finding a custom voice, anew: with the language that one's own voice was made to speak.

drop function voice_clone.find_custom_voice(uuid, text, text, text);

-- is_usable is false for another's, and for one that no live voice of this user owns. The label finds a voice
-- whose maker has not said its id yet. Sample and language are null where no enrollment made the voice.
create function voice_clone.find_custom_voice(p_user uuid, p_provider text, p_voice text, p_label text)
returns table (is_usable boolean, sample_id uuid, language text)
language sql stable security definer set search_path = '' rows 1
as $$
  select coalesce(bool_and(v.id is not null), true), (array_agg(a.sample_id))[1], (array_agg(v.language))[1]
  from voice_clone.enrollments e
  left join public.voices v on v.enrollment_id = e.id and v.user_id = p_user and v.deleted_at is null
  left join public.attempts a on a.id = v.attempt_id
  where (e.provider = p_provider and e.provider_voice_id = p_voice) or e.label = p_label
$$;

grant execute on function voice_clone.find_custom_voice(uuid, text, text, text) to voice_clone_backend;
