-- sweep --
-- one run; no rows if no work was due
select what, count from voice_clone.sweep(%(limit)s)
