-- claim_anchor --
-- the claim, the anchor and the places that have it, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_anchor(%(publication)s) c
left join lateral voice_clone.claimed_anchor(%(publication)s) w on c.outcome = 'claimed'

-- record_publication --
-- the places that have it by now; with the acknowledgement of its message
select voice_clone.record_publication(
  %(publication)s, %(epoch)s, %(signed)s, %(places)s::text[], %(code)s, %(message)s)
