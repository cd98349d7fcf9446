"""Consumers of the queues, one runtime for all: `python -m queue_consumers [queue …]`."""
