-- unknown --
-- of the voices that a provider lists
select * from voice_clone.unaccounted_voices(%(provider)s, %(region)s, %(voices)s, %(labels)s)

-- kept --
-- what the provider should have
select * from voice_clone.undeleted_voices(%(provider)s, %(region)s, %(accounts)s)

-- places --
-- where the voices of enrollments are, by provider, region and account
select * from voice_clone.places()

-- lose --
-- a voice that its provider does not have any more
select voice_clone.lose_voice(%(provider)s, %(region)s, %(accounts)s, %(id)s)
