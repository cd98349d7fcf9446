-- begin_canary --
-- no row where the voice must not speak any more
select * from voice_clone.begin_canary(%(check)s, %(epoch)s, %(voice)s)

-- end_canary --
-- it spoke, or the call said nothing of it
select voice_clone.end_canary(%(check)s, %(epoch)s, %(voice)s, %(has_spoken)s, %(former_at)s)
