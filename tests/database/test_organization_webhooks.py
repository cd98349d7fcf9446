"""Webhooks of an organization: whose events they get, who changes and reads them, and when they go."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.database.situations import refused
from tests.database.test_employee_voices import Staffed
from tests.database.test_webhooks import OTHER, SECRET, claim, deliver, deliveries, register
from tests.fixture import Fixture, Row

CREATE = "select * from voice_clone.create_webhook(%s, %s, 'https://example.org/hook', %s, %s)"


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


@pytest.fixture
def webhook(given: Fixture, acme: Staffed) -> UUID:
    return given.one(CREATE, uuid4(), acme.admin, SECRET, acme.id)["id"]


def seen_by(given: Fixture, user: UUID, sql: str) -> list[Row]:
    with given.superuser.transaction(force_rollback=True):
        claims = json.dumps({"sub": str(user), "role": "authenticated"})
        given.superuser.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)",
            (claims,),
        )
        return given.superuser.execute(sql.encode()).fetchall()


def test_it_gets_the_transitions_of_attempts_for_employees_in_their_order(
    given: Fixture, acme: Staffed, webhook: UUID
) -> None:
    admins, others = register(given, acme.admin), Staffed(given)
    foreign = given.one(CREATE, uuid4(), others.admin, SECRET, others.id)["id"]
    attempt = acme.launchable()
    given.queued(acme.admin, None)
    rows = deliveries(given, webhook)
    assert {(row["org_id"], row["user_id"], row["attempt_id"], row["employee_id"]) for row in rows} == {
        (acme.id, None, attempt, acme.employee)
    }
    assert [row["events"][0] for row in rows][:3] == ["opened", "queued", "claimed"]
    assert [row["version"] for row in rows] == sorted(row["version"] for row in rows)
    assert deliveries(given, foreign) == []
    assert len(deliveries(given, admins)) == 2, "the admin's own attempt, and none of the organization"
    sent = [deliver(given, webhook) for _ in rows]
    assert [event for each in sent for event in each] == [row["event_id"] for row in rows]


def test_an_organization_with_the_id_of_a_user_gets_no_event_of_that_user(given: Fixture) -> None:
    victim, attacker = given.user(), given.user()
    given.superuser.execute("insert into public.organizations (id, name) values (%s, 'O')", (victim,))
    given.add_member(victim, attacker, "admin")
    webhook = given.one(CREATE, uuid4(), attacker, SECRET, victim)["id"]
    attempt = given.queued(victim, None)
    assert deliveries(given, webhook) == []
    event = given.truth("select max(id) as id from voice_clone.events where attempt_id = %s", attempt)["id"]
    with refused("VC004"):
        given.one("select * from voice_clone.replay_event(%s, %s, %s)", webhook, attacker, event)
    mine = register(given, victim)
    with refused("VC004"):
        given.one("select * from voice_clone.enable_webhook(%s, %s)", mine, attacker)


def calls(webhook: UUID, user: UUID, event: int = 1) -> dict[str, tuple[str, tuple[Any, ...]]]:
    return {
        "rotate": ("select voice_clone.rotate_webhook_secret(%s, %s, %s)", (webhook, user, OTHER)),
        "enable": ("select * from voice_clone.enable_webhook(%s, %s)", (webhook, user)),
        "replay": ("select * from voice_clone.replay_event(%s, %s, %s)", (webhook, user, event)),
    }


def test_only_an_admin_registers_and_changes_it(given: Fixture, acme: Staffed, webhook: UUID) -> None:
    stranger = given.user()
    for user, sqlstate in ((acme.member, "VC009"), (stranger, "VC004")):
        with refused(sqlstate):
            given.one(CREATE, uuid4(), user, SECRET, acme.id)
        with refused(sqlstate):
            given.one("select voice_clone.require_admin(%s, %s)", acme.id, user)
        for sql, parameters in calls(webhook, user).values():
            with refused("VC004"):
                given.one(sql, *parameters)
        assert not given.one("select voice_clone.delete_webhook(%s, %s) as gone", webhook, user)["gone"]
    acme.queued()
    event = deliveries(given, webhook)[0]["event_id"]
    second = given.user()
    given.add_member(acme.id, second, "admin")
    for sql, parameters in calls(webhook, second, event).values():
        given.one(sql, *parameters)
    assert given.one("select voice_clone.delete_webhook(%s, %s) as gone", webhook, second)["gone"]


def test_an_admin_who_left_changes_nothing_any_more(given: Fixture, acme: Staffed, webhook: UUID) -> None:
    second = given.user()
    given.add_member(acme.id, second, "admin")
    given.superuser.execute("delete from public.organization_members where user_id = %s", (acme.admin,))
    with refused("VC004"):
        given.one("select * from voice_clone.enable_webhook(%s, %s)", webhook, acme.admin)
    assert seen_by(given, acme.admin, "select id from public.webhooks") == []


def test_admins_read_it_and_its_deliveries_and_nobody_reads_a_secret(
    given: Fixture, acme: Staffed, webhook: UUID
) -> None:
    acme.queued()
    for user, sees in ((acme.admin, True), (acme.member, False), (given.user(), False)):
        assert bool(seen_by(given, user, "select id, url from public.webhooks")) is sees
        assert bool(seen_by(given, user, "select event_id from public.webhook_deliveries")) is sees
    with refused("42501"):
        seen_by(given, acme.admin, "select * from voice_clone.webhook_secrets")


def test_an_organization_has_ten_webhooks_beside_those_of_its_admins(given: Fixture, acme: Staffed) -> None:
    for _ in range(10):
        register(given, acme.admin)
        given.one(CREATE, uuid4(), acme.admin, SECRET, acme.id)
    with refused("VC007", "too_many_webhooks"):
        given.one(CREATE, uuid4(), acme.admin, SECRET, acme.id)


def test_an_organization_has_so_many_webhooks_delivered_to_at_once(given: Fixture, acme: Staffed) -> None:
    webhooks = [given.one(CREATE, uuid4(), acme.admin, SECRET, acme.id)["id"] for _ in range(3)]
    mine = register(given, acme.admin)
    acme.queued()
    given.queued(acme.admin, None)
    outcomes = [claim(given, each)["outcome"] for each in (*webhooks, mine)]
    assert outcomes == ["claimed", "claimed", "user_busy", "claimed"]


def test_it_goes_with_its_organization_and_stays_when_its_admin_is_deleted(
    given: Fixture, acme: Staffed, webhook: UUID
) -> None:
    acme.queued()
    given.add_member(acme.id, given.user(), "admin")
    given.superuser.execute("delete from auth.users where id = %s", (acme.admin,))
    assert deliveries(given, webhook)
    given.superuser.execute("delete from public.organizations where id = %s", (acme.id,))
    for table in ("public.webhooks", "public.webhook_deliveries", "voice_clone.webhook_secrets"):
        assert given.truth(f"select count(*) from {table}")["count"] == 0  # noqa: S608
