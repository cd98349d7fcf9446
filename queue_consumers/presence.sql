-- report_consumer --
-- That this process reads its queues now, or that it stops.
select voice_clone.report_consumer(%(id)s, %(host)s, %(queues)s, %(is_stopped)s)
