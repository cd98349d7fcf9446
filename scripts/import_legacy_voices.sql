-- legacy_voices --
-- what is left to import; read only
select l.reflection_id, l.user_id, l.provider, l.provider_voice_id, l.outcome
from voice_clone.legacy_voices() l

-- import_page --
-- one transaction; no rows if none are left
select i.reflection_id, i.user_id, i.provider, i.provider_voice_id, i.outcome, i.error
from voice_clone.import_legacy_voices(%(after)s, %(limit)s) i
