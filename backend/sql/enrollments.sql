-- begin --
-- what there is to do; a removal is committed as an intent before the provider is asked
select * from voice_clone.begin_cleanup(%(enrollment)s)

-- end --
-- orphaned, closed or removed, unless somebody was faster; with the archive of its message
select voice_clone.end_cleanup(%(enrollment)s, %(status)s, %(voice)s, %(target_model)s, %(message)s) as status
