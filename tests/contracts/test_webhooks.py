"""The messages of webhooks on every pgmq: the tests of their steps."""

from tests.database.test_webhooks import (
    test_a_message_goes_with_what_it_delivered,
    test_a_worker_that_ends_sends_the_message_for_what_is_left,
    test_each_transition_is_queued_for_each_webhook_of_the_owner,
    test_the_sweep_sends_a_lost_message_once_for_a_webhook,
    test_the_sweep_sends_what_is_due_after_a_long_backoff,
    user,
    webhook,
)

__all__ = [
    "test_a_message_goes_with_what_it_delivered",
    "test_a_worker_that_ends_sends_the_message_for_what_is_left",
    "test_each_transition_is_queued_for_each_webhook_of_the_owner",
    "test_the_sweep_sends_a_lost_message_once_for_a_webhook",
    "test_the_sweep_sends_what_is_due_after_a_long_backoff",
    "user",
    "webhook",
]
