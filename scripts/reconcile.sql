-- unknown --
-- of the voices that a provider lists
select * from voice_clone.unknown_voices(%(provider)s, %(region)s, %(voices)s, %(labels)s)

-- kept --
-- what the provider should have
select * from voice_clone.kept_voices(%(provider)s, %(region)s)
