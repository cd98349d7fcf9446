-- metric_samples --
-- each metric has the same labels in each of its rows
select m.metric, m.labels, m.value from voice_clone.metric_samples() m
