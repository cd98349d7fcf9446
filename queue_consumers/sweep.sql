-- sweep --
-- Counts by what was done; no row, and one look at an index, where nothing was due.
select what, count from voice_clone.sweep(%(limit)s)
