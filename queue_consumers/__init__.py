"""The resident consumers: one process for any queues, `python -m queue_consumers [queue …]`."""
