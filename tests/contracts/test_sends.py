"""The messages of the lifecycle on every pgmq: the tests of the steps that send from SQL."""

from tests.database.test_cleanup import *  # noqa: F403
from tests.database.test_sweep import *  # noqa: F403
from tests.database.test_verification import *  # noqa: F403
