-- use --
-- one round trip, whether it is allowed or not
select * from voice_clone.use_rate_limit(%(user)s, %(policy)s, %(limit)s, %(window)s, %(cost)s)
