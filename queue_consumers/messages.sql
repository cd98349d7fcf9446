-- read_messages --
-- The body stays text, so that one malformed message does not spoil a batch.
select msg_id, read_ct, message::text
from voice_clone.read_messages(%(queue)s, %(visibility)s, %(quantity)s)
order by msg_id

-- archive_messages --
-- Done and cancelled messages are kept in the queue's archive.
select voice_clone.archive_messages(%(queue)s, %(ids)s)

-- postpone_messages --
-- Retries, and the heartbeat of handlers that still run.
select voice_clone.postpone_messages(%(queue)s, %(ids)s, %(delays)s)

-- release_messages --
-- Puts back what a stopping process has not finished, and tells the others.
select voice_clone.postpone_messages(%(queue)s, %(ids)s, %(delays)s), pg_notify('voice_clone_wake', %(queue)s)

-- dead_letter_messages --
-- Malformed, or out of budget.
select voice_clone.dead_letter_messages(
  %(queue)s, %(ids)s, %(bodies)s::jsonb[], %(reads)s, %(reasons)s)

-- send_anew --
-- Snoozed, or to wait longer than a queue keeps: sent with its true tries, unless another reader archived it.
with archived as materialized (
  select unnest(voice_clone.archive_messages(%(queue)s, %(ids)s)) as id
)
select voice_clone.send_messages(
  %(queue)s, array[anew.body || jsonb_build_object('tries', anew.tries)], anew.delay)
from archived
join unnest(%(ids)s::bigint[], %(bodies)s::jsonb[], %(tries)s::int[], %(delays)s::int[])
  as anew (id, body, tries, delay) using (id)
