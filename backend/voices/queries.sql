-- all --
-- under row level security: the caller's own, newest first
select v.id as voice_id, v.attempt_id, v.name, v.language, v.provider, v.region, v.provider_voice_id,
  v.target_model, v.created_at
from public.voices v order by v.created_at desc limit %(limit)s

-- by_id --
-- under row level security: another's, or a deleted one, is not there
select v.id as voice_id, v.attempt_id, v.name, v.language, v.provider, v.region, v.provider_voice_id,
  v.target_model, v.created_at
from public.voices v where v.id = %(voice)s

-- remove --
-- soft; the reflections that spoke with it have no voice from now on
select voice_clone.delete_voice(%(voice)s, %(user)s) as deleted
