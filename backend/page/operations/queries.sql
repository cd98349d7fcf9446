-- overview --
-- as one value; it is sent as it is, with a sentence for each attempt that stands still
select operations.overview() as overview

-- attempt_series --
-- one slice of the event log
select since, provider, status, error_code, scale, count from operations.attempt_series(%(from)s, %(to)s)

-- failed_attempts --
-- those that an operator may retry
select id, failed_at, provider, region, status, runtime_status, preview_status, error_code
from operations.failed_attempts(%(since)s, 50)

-- attempt --
-- all that is known of one; null where there is none
select operations.attempt(%(attempt)s) as attempt

-- redrive --
-- those that this call sent
select id, queue, subject from operations.redrive_dead_letters(%(ids)s)

-- retry --
-- raises where nothing has failed
select id, status, runtime_status, preview_status from operations.retry_attempt(%(attempt)s)

-- sweep --
-- what was done
select what, count from operations.sweep(%(limit)s)
