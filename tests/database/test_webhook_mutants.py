"""Each guard of the webhooks, removed: a test of test_webhooks.py fails without it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database import test_organization_webhooks as organizations
from tests.database import test_webhooks as webhooks
from tests.database.invariants import Mutant, patch, run
from tests.database.test_employee_voices import Staffed
from tests.database.test_webhooks import user, webhook
from tests.fixture import Fixture

__all__ = ["user", "webhook"]
pytestmark = pytest.mark.one_postgres

CLAIM, RECORD, SWEEP = (
    f"voice_clone.{name}" for name in ("claim_webhook", "record_deliveries", "sweep_webhooks")
)
OWN_EVENTS = "(a.user_id = w.user_id or a.org_id = w.org_id)"
MUTANTS: dict[str, tuple[Mutant, Callable[..., Any]]] = {
    "a transition that queues nothing": (
        patch("voice_clone.append_event", "perform voice_clone.queue_deliveries(v_event, new);", ""),
        webhooks.test_each_transition_is_queued_for_each_webhook_of_the_owner,
    ),
    "a transition that sends nothing": (
        patch("voice_clone.queue_deliveries", "perform voice_clone.send_webhook(v_webhook);", ""),
        webhooks.test_each_transition_is_queued_for_each_webhook_of_the_owner,
    ),
    "a webhook that gets the events of others": (
        patch("voice_clone.queue_deliveries", "w.user_id = a.user_id", "true"),
        webhooks.test_each_transition_is_queued_for_each_webhook_of_the_owner,
    ),
    "a transition that waits for a deletion": (
        patch("voice_clone.queue_deliveries", "for key share skip locked", "for key share"),
        webhooks.test_a_transition_does_not_wait_for_a_webhook_that_is_being_deleted,
    ),
    "a transition that waits for a worker": (
        patch("voice_clone.queue_deliveries", "for key share skip locked", "for update"),
        webhooks.test_a_transition_does_not_wait_for_a_worker,
    ),
    "a disabled webhook that goes on": (
        patch("voice_clone.queue_deliveries", "and w.status = 'enabled'", ""),
        webhooks.test_a_webhook_that_fails_for_days_is_disabled_and_says_why,
    ),
    "an event that overtakes an earlier one": (
        patch("voice_clone.due_events", "and e.event_id < d.event_id", "and false"),
        webhooks.test_a_later_event_of_an_attempt_waits_for_an_earlier_one,
    ),
    "an event before its time": (
        patch("voice_clone.due_events", "and d.due_at <= now()", ""),
        webhooks.test_a_later_event_of_an_attempt_waits_for_an_earlier_one,
    ),
    "a lease that another takes": (
        patch(CLAIM, "w.lease_expires_at > now()", "false"),
        webhooks.test_one_worker_at_a_time_delivers_to_a_webhook,
    ),
    "an epoch that does not grow": (
        patch(CLAIM, "lease_epoch = x.lease_epoch + 1", "lease_epoch = x.lease_epoch"),
        webhooks.test_one_worker_at_a_time_delivers_to_a_webhook,
    ),
    "a stale worker that writes": (
        patch(RECORD, "and x.lease_epoch = p_epoch", ""),
        webhooks.test_one_worker_at_a_time_delivers_to_a_webhook,
    ),
    "a worker that records twice": (
        patch(RECORD, "and x.lease_owner is not null", ""),
        webhooks.test_one_worker_at_a_time_delivers_to_a_webhook,
    ),
    "a message that stays": (
        patch(RECORD, "where p_message_id is not null", "where false"),
        webhooks.test_a_message_goes_with_what_it_delivered,
    ),
    "a worker that leaves what is left": (
        patch(RECORD, "return voice_clone.send_due_webhook(p_webhook, v_wait);", "return '';"),
        webhooks.test_a_worker_that_ends_sends_the_message_for_what_is_left,
    ),
    "any number of webhooks at once": (
        patch(CLAIM, ">= p_user_cap", ">= 1000"),
        webhooks.test_an_owner_has_so_many_webhooks_delivered_to_at_once,
    ),
    "a server that is away and gets every event": (
        patch(CLAIM, "w.not_before > now()", "false"),
        webhooks.test_a_server_that_is_away_puts_off_the_whole_webhook,
    ),
    "a backoff that does not grow": (
        patch("voice_clone.webhook_backoff", "2 ^ least(p_failures - 1, 20)", "1"),
        webhooks.test_a_server_that_is_away_puts_off_the_whole_webhook,
    ),
    "a server that is back and waits": (
        patch(RECORD, "v_delivered and w.failure_count > 0", "false"),
        webhooks.test_a_server_that_is_back_gets_everything_at_once,
    ),
    "a server that is not listened to": (
        patch(RECORD, "make_interval(secs => p_retry_after_seconds)", "interval '0'"),
        webhooks.test_the_backoff_is_at_least_what_the_server_said,
    ),
    "a refused event that stops all": (
        patch(RECORD, "'failed' = any (v_outcomes)", "true"),
        webhooks.test_an_event_that_is_refused_holds_up_no_other_attempt,
    ),
    "an event that is tried for ever": (
        patch(RECORD, "d.queued_at + voice_clone.timeout('webhook') <= now()", "false"),
        webhooks.test_an_event_that_is_refused_for_days_fails_and_the_next_follows,
    ),
    "a webhook that fails for ever": (
        patch(RECORD, "w.failing_since + voice_clone.timeout('webhook') <= now()", "false"),
        webhooks.test_a_webhook_that_fails_for_days_is_disabled_and_says_why,
    ),
    "a webhook that is gone and tried again": (
        patch(RECORD, "not v_delivered and ('gone' = any (v_outcomes) or", "not v_delivered and (false or"),
        webhooks.test_a_webhook_that_is_gone_is_disabled_at_once,
    ),
    "no sweep": (
        patch("voice_clone.sweep", "sweep_webhooks(v_limit)", "sweep_webhooks(0)"),
        webhooks.test_the_sweep_sends_a_lost_message_once_for_a_webhook,
    ),
    "a sweep that sends each time": (
        patch(SWEEP, "set sweep_at = case when", "set sweep_at = case when true then now() when"),
        webhooks.test_the_sweep_sends_a_lost_message_once_for_a_webhook,
    ),
    "a claim that the sweep does not look at": (
        patch(CLAIM, "set sweep_at = w.lease_expires_at", "set sweep_at = now() + interval '1 day'"),
        webhooks.test_the_sweep_finds_what_a_worker_left_that_died,
    ),
    "what waits for a disabled webhook for ever": (
        patch(SWEEP, "d.webhook_status = 'disabled'", "false"),
        webhooks.test_what_was_queued_while_the_webhook_was_disabled_fails,
    ),
    "deliveries that are kept for ever": (
        patch(SWEEP, "now() - voice_clone.timeout('webhook_history')", "now() - interval '100 years'"),
        webhooks.test_a_delivery_that_ended_long_ago_is_removed,
    ),
    "any number of webhooks": (
        patch("voice_clone.create_webhook", ">= c_limit", ">= 1000"),
        webhooks.test_a_user_has_ten_webhooks,
    ),
    "a secret that signs for ever": (
        patch("voice_clone.claimed_webhook", "(s.expires_at is null or s.expires_at > now())", "true"),
        webhooks.test_after_a_rotation_both_secrets_sign_for_a_while,
    ),
    "a rotation that ends the secret before": (
        patch("voice_clone.claimed_webhook", "(s.expires_at is null or s.expires_at > now())",
              "s.expires_at is null"),
        webhooks.test_after_a_rotation_both_secrets_sign_for_a_while,
    ),
    "a replay of the events of others": (
        patch("voice_clone.replay_event", OWN_EVENTS, "true"),
        webhooks.test_an_event_from_before_the_webhook_is_replayed,
    ),
    "a webhook that outlives its user": (
        patch("voice_clone.forget_user", "delete from public.webhooks w where w.user_id = p_user;", ""),
        webhooks.test_a_deleted_user_leaves_no_webhook,
    ),
    "any transition of a delivery": (
        run("drop trigger webhook_deliveries_check_transition on public.webhook_deliveries"),
        webhooks.test_a_delivery_keeps_its_event_and_takes_only_the_edges,
    ),
}  # fmt: skip
OF_ORGANIZATIONS: dict[str, tuple[Mutant, Callable[..., Any]]] = {
    "an organization that gets the events of a user with its id": (
        patch("voice_clone.queue_deliveries", "w.user_id = a.user_id",
              "coalesce(w.user_id, w.org_id) = a.user_id"),
        organizations.test_an_organization_with_the_id_of_a_user_gets_no_event_of_that_user,
    ),
    "an organization that replays the events of a user with its id": (
        patch("voice_clone.replay_event", OWN_EVENTS, "w.org_id in (a.org_id, a.user_id)"),
        organizations.test_an_organization_with_the_id_of_a_user_gets_no_event_of_that_user,
    ),
    "an organization that gets nothing": (
        patch("voice_clone.queue_deliveries", "w.org_id = a.org_id", "false"),
        organizations.test_it_gets_the_transitions_of_attempts_for_employees_in_their_order,
    ),
    "a member who registers": (
        patch("voice_clone.create_webhook", "perform voice_clone.require_admin(p_org, p_user);", ""),
        organizations.test_only_an_admin_registers_and_changes_it,
    ),
    "a member who is an admin": (
        patch("voice_clone.is_admin_of", "and m.role::text = 'admin'", ""),
        organizations.test_only_an_admin_registers_and_changes_it,
    ),
    "anyone who changes it": (
        patch("voice_clone.require_webhook", "voice_clone.is_admin_of(x.org_id, p_user)", "true"),
        organizations.test_only_an_admin_registers_and_changes_it,
    ),
    "anyone who deletes it": (
        patch("voice_clone.delete_webhook", "voice_clone.is_admin_of(w.org_id, p_user)", "true"),
        organizations.test_only_an_admin_registers_and_changes_it,
    ),
    "members who read it": (
        run("alter policy \"Owners read their webhooks\" on public.webhooks"
            " using (org_id = any (array(select voice_clone.member_organizations())))"),
        organizations.test_admins_read_it_and_its_deliveries_and_nobody_reads_a_secret,
    ),
    "members who read its deliveries": (
        run("alter policy \"Owners read the deliveries to their webhooks\" on public.webhook_deliveries"
            " using (org_id = any (array(select voice_clone.member_organizations())))"),
        organizations.test_admins_read_it_and_its_deliveries_and_nobody_reads_a_secret,
    ),
    "any number of an organization": (
        patch("voice_clone.create_webhook", "or w.org_id = p_org) >= c_limit", ") >= c_limit"),
        organizations.test_an_organization_has_ten_webhooks_beside_those_of_its_admins,
    ),
    "any number of an organization at once": (
        patch(CLAIM, "(x.user_id = w.user_id or x.org_id = w.org_id)", "x.user_id = w.user_id"),
        organizations.test_an_organization_has_so_many_webhooks_delivered_to_at_once,
    ),
    "a webhook that outlives its organization": (
        run("drop trigger voice_clone_delete_webhooks on public.organizations"),
        organizations.test_it_goes_with_its_organization_and_stays_when_its_admin_is_deleted,
    ),
}  # fmt: skip
FOUND = (AssertionError, psycopg.Error, pytest.fail.Exception)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_lost_guard_is_found(given: Fixture, user: UUID, name: str) -> None:
    mutate, test = MUTANTS[name]
    mutate(given)
    arguments = (user,) if "webhook" not in test.__annotations__ else (user, webhooks.register(given, user))
    with pytest.raises(FOUND):
        test(given, *arguments)


@pytest.mark.parametrize("name", OF_ORGANIZATIONS)
def test_a_lost_guard_of_an_organization_is_found(given: Fixture, name: str) -> None:
    mutate, test = OF_ORGANIZATIONS[name]
    mutate(given)
    arguments = list[Any]()
    if "acme" in test.__annotations__:
        arguments.append(acme := Staffed(given))
        if "webhook" in test.__annotations__:
            create = given.one(organizations.CREATE, uuid4(), acme.admin, webhooks.SECRET, acme.id)
            arguments.append(create["id"])
    with pytest.raises(FOUND):
        test(given, *arguments)
