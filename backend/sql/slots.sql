-- set --
-- null for no limit; nothing is written where nothing changed
select voice_clone.set_slots(%(provider)s, %(region)s, %(slots)s)

-- held --
-- counted up to what the account uses: the rest of it is somebody else's
select voice_clone.voices_held(%(provider)s, %(region)s, %(limit)s) as held
