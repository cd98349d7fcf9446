-- Reading by the index, whatever the statistics say.
--
-- pgmq.read plans its statement anew each time. Once autovacuum has seen a queue drained, the planner takes it for
-- empty, so it walks all of it for each read and compares every message with each of those it chose: 16 of
-- 50,000 took 90 ms, and 200 a second, until autovacuum came again. Without these ways of doing it the
-- oldest are read off the index and merged with themselves, which takes one millisecond.

alter function voice_clone.read_messages(text, int, int) set enable_seqscan = off;
alter function voice_clone.read_messages(text, int, int) set enable_nestloop = off;
alter function voice_clone.read_messages(text, int, int) set enable_hashjoin = off;
-- Called by that one; it looks up the few that are due, one by one, among all that are not.
alter function voice_clone.release_deferred_messages(text, int) set enable_nestloop = on;
