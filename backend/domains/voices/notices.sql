-- lose --
-- each voice of ours that speaks with it, by whatever user; an answer that is older than the voice is not believed
select voice_clone.lose_voice(%(provider)s, %(region)s, %(accounts)s::text[], %(voice)s, to_timestamp(%(at)s)) as lost
