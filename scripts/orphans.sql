-- orphans --
-- the oldest first
select * from voice_clone.orphans()
