-- claim_voice_check --
-- the claim and what is to be checked, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_voice_check(%(check)s) c
left join lateral voice_clone.claimed_voice_check(%(check)s) w on c.outcome = 'claimed'

-- voices_to_check --
-- of an account, in the order of their ids
select * from voice_clone.voices_to_check(%(provider)s, %(region)s, %(account)s, %(after)s, %(limit)s, %(unused_days)s)

-- lose_checked_voice --
-- one that its provider does not have any more
select voice_clone.lose_checked_voice(%(check)s, %(epoch)s, %(id)s)

-- record_voice_check --
-- how far it came; with the acknowledgement of its message
select voice_clone.record_voice_check(
  %(check)s, %(epoch)s, %(after)s, %(code)s, %(stopped_at)s, %(silent)s, %(message)s)
