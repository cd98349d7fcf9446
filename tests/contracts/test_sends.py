"""The messages of the lifecycle on every pgmq: the tests of the steps that send from SQL."""

from tests.database.test_cleanup import *  # noqa: F403
from tests.database.test_speech_jobs import (
    sample,
    test_a_job_opens_an_attempt_and_waits_for_it_without_a_message,
    test_a_long_wait_is_sent_by_the_sweep,
    test_a_message_goes_with_its_effect,
    test_a_user_speaks_so_many_jobs_at_once_and_the_next_follows,
    user,
)
from tests.database.test_sweep import *  # noqa: F403
from tests.database.test_verification import *  # noqa: F403

__all__ = [
    "sample",
    "test_a_job_opens_an_attempt_and_waits_for_it_without_a_message",
    "test_a_long_wait_is_sent_by_the_sweep",
    "test_a_message_goes_with_its_effect",
    "test_a_user_speaks_so_many_jobs_at_once_and_the_next_follows",
    "user",
]
