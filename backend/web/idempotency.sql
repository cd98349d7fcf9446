-- claim --
-- the answer where there is one, else the claim; refused while another call has the key
select * from voice_clone.claim_idempotency_key(%(user)s, %(key)s, %(fingerprint)s)

-- renew --
-- while the call runs; false: another call has taken over
select voice_clone.renew_idempotency_key(%(id)s, %(epoch)s) as held

-- keep_result --
-- in the transaction of the work
select voice_clone.keep_idempotent_result(%(id)s, %(epoch)s, %(result)s)

-- keep_answer --
-- replayed from now on; without a status the key is free for the next try
select voice_clone.keep_idempotent_answer(%(id)s, %(epoch)s, %(status)s, %(headers)s, %(body)s)
