"""The consumer runtime on every pgmq: the same tests of its outcomes."""

from tests.queue_consumers.test_deferring import *  # noqa: F403
from tests.queue_consumers.test_outcomes import *  # noqa: F403
