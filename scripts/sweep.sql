-- sweep --
-- one run; no row where nothing was due
select what, count from voice_clone.sweep(%(limit)s)
