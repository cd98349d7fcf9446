"""The consumer runtime on every pgmq: the tests of its outcomes, once more."""

from tests.queue_consumers.test_deferring import *  # noqa: F403
from tests.queue_consumers.test_outcomes import *  # noqa: F403
