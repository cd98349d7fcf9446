-- read_messages --
-- The body stays text, so that a malformed message does not fail its batch.
select msg_id, read_ct, message::text, extract(epoch from clock_timestamp() - enqueued_at)::float8
from voice_clone.read_messages(%(queue)s, %(visibility)s, %(quantity)s)
order by msg_id

-- acknowledge_messages --
-- Done and cancelled messages are deleted.
select voice_clone.acknowledge_messages(%(queue)s, %(ids)s)

-- postpone_messages --
-- Short retries, and the heartbeat of running handlers.
select voice_clone.postpone_messages(%(queue)s, %(ids)s, %(delays)s)

-- release_messages --
-- What a stopping process did not finish becomes visible, and other consumers are notified.
select voice_clone.postpone_messages(%(queue)s, %(ids)s, %(delays)s), pg_notify('voice_clone_wake', %(queue)s)

-- dead_letter_messages --
-- Malformed, or out of budget.
select voice_clone.dead_letter_messages(
  %(queue)s, %(ids)s, %(bodies)s::jsonb[], %(reads)s, %(reasons)s)

-- requeue_messages --
-- Snoozed, or delayed for longer than a queue keeps: sent with its tries, unless another reader acknowledged it.
with acknowledged as materialized (
  select unnest(voice_clone.acknowledge_messages(%(queue)s, %(ids)s)) as id
)
select voice_clone.send_messages(
  %(queue)s,
  array[requeued.body || jsonb_strip_nulls(jsonb_build_object('tries', requeued.tries, 'waiting_since', requeued.waiting_since))],
  requeued.delay)
from acknowledged
join unnest(%(ids)s::bigint[], %(bodies)s::jsonb[], %(tries)s::int[], %(delays)s::int[], %(waits)s::timestamptz[])
  as requeued (id, body, tries, delay, waiting_since) using (id)
