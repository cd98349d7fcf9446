-- after --
-- one query for every attempt that changed and is followed here
select * from voice_clone.events_after(%(attempts)s::uuid[], %(after)s::bigint[], %(limit)s)

-- has_more --
-- false: the attempt is over and all of it was told; null: it is not this user's
select voice_clone.has_more_events(%(attempt)s, %(user)s, %(after)s)
