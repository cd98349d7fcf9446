"""Broadcasts: what is sent, who may receive it, and that no failure of Realtime fails a transition."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture, Row

TOPIC = "voice_clone:user:{}"


@pytest.fixture
def realtime(given: Fixture) -> None:
    """Realtime, as it is added to a project that has the migrations already."""
    given.database.cluster.add_realtime(given.database.name)
    assert enable(given) == "enabled"


def enable(given: Fixture) -> str:
    return given.database.cluster.enable_realtime(given.database.name)


def messages(given: Fixture, topic: str) -> list[Row]:
    return given.superuser.execute(
        "select * from realtime.messages where topic = %s order by inserted_at, payload -> 'event_id'",
        (topic,),
    ).fetchall()


def may_receive(given: Fixture, user: UUID | None, topic: str) -> bool:
    """As Realtime decides: the caller reads a message of the topic, which is rolled back."""
    with given.superuser.transaction(force_rollback=True):
        made = given.truth(
            "insert into realtime.messages (topic, extension) values (%s, 'broadcast') returning id", topic
        )
        claims = json.dumps({"sub": str(user), "role": "authenticated"}) if user else '{"role": "anon"}'
        given.superuser.execute(
            "select set_config('role', %s, true), set_config('realtime.topic', %s, true),"
            " set_config('request.jwt.claims', %s, true)",
            ("authenticated" if user else "anon", topic, claims),
        )
        found = given.superuser.execute("select from realtime.messages where id = %s", (made["id"],))
        return found.fetchone() is not None


def test_each_transition_is_broadcast_once_to_its_owner_as_the_event_stream_has_it(
    given: Fixture, realtime: None
) -> None:
    user, stranger = given.user(), given.user()
    attempt = given.launchable(user, given.reflection(user))
    given.queued(stranger, None)
    streamed = given.service.execute(
        "select id, version, events, changes from voice_clone.events_after(%s::uuid[], '{0}', 100)",
        ([attempt],),
    ).fetchall()
    sent = messages(given, TOPIC.format(user))
    assert [(each["event"], each["extension"], each["private"]) for each in sent] == [
        ("voice_clone_attempt.changed", "broadcast", True)
    ] * len(streamed)
    assert [
        {"id": each["payload"]["event_id"], **{name: each["payload"][name] for name in ("version", "events")}}
        for each in sent
    ] == [{name: each[name] for name in ("id", "version", "events")} for each in streamed]
    assert [each["payload"]["changes"] for each in sent] == [each["changes"] for each in streamed]
    assert set(sent[0]["payload"]) == {
        "id", "event_id", "attempt_id", "version", "events", "changes", "recorded_at",
    }  # fmt: skip
    assert len(messages(given, TOPIC.format(stranger))) == 2


def test_transitions_of_an_employee_go_to_the_organization(given: Fixture, realtime: None) -> None:
    acme = Staffed(given)
    acme.launchable()
    sent = messages(given, f"voice_clone:organization:{acme.id}")
    assert [each["payload"]["events"] for each in sent][:2] == [["opened"], ["queued"]]
    assert messages(given, TOPIC.format(acme.admin)) == []


def test_what_is_rolled_back_and_bookkeeping_are_not_broadcast(given: Fixture, realtime: None) -> None:
    user = given.user()
    attempt = given.open(user, None)
    with given.service.transaction(force_rollback=True):
        given.queue(attempt, user)
    epoch = given.claim(given.queued(user, None))["lease_epoch"]
    before = len(messages(given, TOPIC.format(user)))
    given.one("select voice_clone.renew_lease(%s, %s, 90) as held", attempt, epoch)
    assert before == 4, "opened, opened, queued, claimed"
    assert len(messages(given, TOPIC.format(user))) == before


def test_only_the_owner_receives_a_users_topic_and_only_members_an_organizations(
    given: Fixture, realtime: None
) -> None:
    acme, stranger = Staffed(given), given.user()
    organization = f"voice_clone:organization:{acme.id}"
    receivers = {
        name: [may_receive(given, user, topic) for topic in (TOPIC.format(acme.admin), organization)]
        for name, user in {
            "admin": acme.admin, "member": acme.member, "stranger": stranger, "nobody": None,
        }.items()
    }  # fmt: skip
    assert receivers == {
        "admin": [True, True],
        "member": [False, True],
        "stranger": [False, False],
        "nobody": [False, False],
    }
    given.superuser.execute("delete from public.organization_members where user_id = %s", (acme.member,))
    assert not may_receive(given, acme.member, organization)


@pytest.mark.parametrize("topic", ["", "voice_clone:user:", "voice_clone:user:%", "chat", "voice_clone:{}"])
def test_no_other_topic_is_received(given: Fixture, realtime: None, topic: str) -> None:
    user = given.user()
    assert not may_receive(given, user, topic.format(user))


def test_an_organization_with_the_id_of_a_user_does_not_receive_the_users_topic(
    given: Fixture, realtime: None
) -> None:
    victim, attacker = given.user(), given.user()
    given.superuser.execute("insert into public.organizations (id, name) values (%s, 'O')", (victim,))
    given.add_member(victim, attacker, "admin")
    assert not may_receive(given, attacker, TOPIC.format(victim))
    assert may_receive(given, attacker, f"voice_clone:organization:{victim}")


@pytest.mark.parametrize(
    "fault",
    [
        "drop table realtime.messages cascade",
        "drop function realtime.send(jsonb, text, text, boolean)",
        "drop schema realtime cascade",
        "drop table realtime.messages_default",
        "create or replace function realtime.send("
        "payload jsonb, event text, topic text, private boolean default true)"
        " returns void language plpgsql as $$ begin raise 'it is away'; end $$",
        "alter table realtime.messages add constraint never check (false) not valid",
    ],
)
def test_a_failure_of_realtime_fails_no_transition(given: Fixture, realtime: None, fault: str) -> None:
    given.superuser.execute(fault.encode())
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    assert given.attempt(attempt)["preview_status"] == "completed"


def test_locked_tables_of_realtime_fail_no_transition(given: Fixture, realtime: None) -> None:
    user = given.user()
    attempt = given.open(user, None)
    with (
        psycopg.connect(given.database.superuser) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("lock table realtime.messages in access exclusive mode")
        queued = pool.submit(given.queue, attempt, user)
        assert queued.result(30)["status"] == "queued"


def test_without_realtime_there_is_no_trigger_and_enabling_changes_nothing(given: Fixture) -> None:
    assert enable(given) == "unavailable"
    assert triggers(given) == 0


def test_realtime_is_enabled_again_and_disabled(given: Fixture, realtime: None) -> None:
    assert enable(given) == "enabled"
    assert triggers(given) == 1
    assert given.service.execute("select * from voice_clone.missing_parts()").fetchall() == []
    given.superuser.execute("drop trigger events_broadcast on voice_clone.events")
    missing = given.service.execute("select * from voice_clone.missing_parts() as part").fetchall()
    assert "trigger events_broadcast on voice_clone.events" in {row["part"] for row in missing}
    with psycopg.connect(given.database.postgres, autocommit=True) as connection:
        connection.execute("select operations.disable_realtime()")
    assert given.service.execute("select * from voice_clone.missing_parts()").fetchall() == []
    user = given.user()
    assert not may_receive(given, user, TOPIC.format(user))


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role", "voice_clone_service"])
def test_only_the_owner_of_the_schema_enables_realtime(given: Fixture, realtime: None, role: str) -> None:
    for function in ("enable_realtime", "disable_realtime"):
        assert not given.truth(
            "select has_function_privilege(%s, %s, 'execute') as may", role, f"operations.{function}()"
        )["may"]


def test_a_partition_that_is_created_later_broadcasts_too(given: Fixture, realtime: None) -> None:
    given.superuser.execute("select voice_clone.create_event_partitions(8)")
    without = given.superuser.execute(
        "select i.inhrelid::regclass::text from pg_inherits i"
        " where i.inhparent = 'voice_clone.events'::regclass and not exists ("
        "select from pg_trigger t where t.tgrelid = i.inhrelid and t.tgname = 'events_broadcast')"
    ).fetchall()
    assert without == []


def triggers(given: Fixture) -> int:
    return given.truth(
        "select count(*) from pg_trigger where tgname = 'events_broadcast' and tgparentid = 0"
    )["count"]
