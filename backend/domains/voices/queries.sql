-- all --
-- under row level security: the caller's own, newest first, after a place in this order
select v.id as voice_id, v.attempt_id, v.name, v.language, v.tts_provider, v.provider_voice_id, v.provider_target_model,
  v.provider_voice_kind, v.provider_region, v.provider_request_id, v.provider_metadata, v.created_at, v.lost_at,
  a.moved_from, m.id as moved_to, case when n.id is not null then jsonb_build_object(
    'attempt_id', n.id, 'provider', n.provider, 'status', n.status, 'error_code', n.error_code) end as move
from public.voices v
join public.voice_clone_attempts a on a.id = v.attempt_id
left join public.voice_clone_attempts n on n.voice_id = v.moved_to
left join public.voices m on m.id = v.moved_to
where (v.created_at, v.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by v.created_at desc, v.id desc limit %(limit)s

-- by_id --
-- under row level security: another's, or a deleted one, is not there
select v.id as voice_id, v.attempt_id, v.name, v.language, v.tts_provider, v.provider_voice_id, v.provider_target_model,
  v.provider_voice_kind, v.provider_region, v.provider_request_id, v.provider_metadata, v.created_at, v.lost_at,
  a.moved_from, m.id as moved_to, case when n.id is not null then jsonb_build_object(
    'attempt_id', n.id, 'provider', n.provider, 'status', n.status, 'error_code', n.error_code) end as move
from public.voices v
join public.voice_clone_attempts a on a.id = v.attempt_id
left join public.voice_clone_attempts n on n.voice_id = v.moved_to
left join public.voices m on m.id = v.moved_to
where v.id = %(voice)s

-- to_speak --
-- under row level security: another's, or a deleted one, is not there
select v.language, v.tts_provider, v.provider_region, v.provider_account, v.provider_voice_id, v.provider_target_model,
  v.lost_at is not null as is_lost, a.taken_down_at is not null as is_taken_down,
  coalesce(v.spoken_at > now() - interval '1 day', false) as has_spoken_lately
from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id where v.id = %(voice)s

-- note_speech --
-- once a day at most: a check need not make it speak
select voice_clone.note_speech_of(%(voice)s, %(user)s)

-- remove --
-- soft; the reflections that used it have no voice from now on
select voice_clone.delete_voice(%(voice)s, %(user)s) as deleted
