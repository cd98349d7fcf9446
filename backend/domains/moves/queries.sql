-- voice --
-- what a move needs to know of a voice, and what was measured of its sample; under row level security
select v.language, v.tts_provider, v.provider_region, v.provider_account, s.measures
from public.voices v
join public.voice_clone_attempts a on a.id = v.attempt_id
left join public.voice_samples s on s.id = a.sample_id
where v.id = %(voice)s

-- move --
-- a new attempt of the same sample; its reflection keeps a voice that works
select * from voice_clone.move_voice(
  %(attempt)s, %(voice)s, %(user)s, %(provider)s, %(region)s, %(accounts)s, %(switch)s, %(preview_required)s, %(per_day)s)

-- by_place --
-- how many voices may be spoken with, by where they are
select provider, region, account, voices from voice_clone.voices_by_place()
