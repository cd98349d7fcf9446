-- is_alive --
-- Whether a consumer of this host reported within the timeout `consumer`, and has not said that it stops.
select voice_clone.consumer_is_alive(%(host)s)
