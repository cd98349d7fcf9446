-- sweep --
-- Counts by what was done; no row, and one index lookup, where nothing was due.
select what, count from voice_clone.sweep(%(limit)s)
