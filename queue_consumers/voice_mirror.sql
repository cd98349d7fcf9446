-- mirror_reflections --
-- A pure function of the active attempts, so one call serves every message of the batch.
select voice_clone.mirror_reflections(%(ids)s)
