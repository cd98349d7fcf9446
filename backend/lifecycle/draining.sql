-- read --
-- whoever reads sends what was deferred and is due first
select msg_id, read_ct, coalesce(message::text, 'null') as message
from voice_clone.read_messages(%(queue)s, %(visibility)s, %(quantity)s)
order by msg_id

-- archive --
-- handled, or nothing was left to do
select voice_clone.archive_messages(%(queue)s, array[%(message)s]::bigint[])

-- send_anew --
-- to wait, with its true tries, unless another reader archived it
select voice_clone.send_messages(
  %(queue)s, array[%(body)s::jsonb || jsonb_build_object('tries', %(tries)s::int)], %(delay)s)
from unnest(voice_clone.archive_messages(%(queue)s, array[%(message)s]::bigint[])) archived

-- bury --
-- malformed, or out of budget
select voice_clone.dead_letter_messages(
  %(queue)s, array[%(message)s]::bigint[], array[%(body)s]::jsonb[], array[%(reads)s]::int[], array[%(reason)s])

-- mirror --
-- the mirrors and the archive of their messages, in one transaction
select voice_clone.mirror_reflections(%(reflections)s::uuid[]),
  voice_clone.archive_messages('voice_mirror', %(messages)s::bigint[])
