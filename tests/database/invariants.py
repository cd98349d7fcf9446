"""The twelve invariants of the lifecycle as checks, and for each a mutant that takes it away.

A check passes on the migrated schema and must fail on its mutant: a check that cannot fail checks nothing.
"""

from collections.abc import Callable
from itertools import product
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row

from tests.world import Row, World

Check = Callable[[World], None]
Mutant = Callable[[World], None]


def refused(world: World, sqlstate: str | None, sql: LiteralString, *parameters: object) -> None:
    """The superuser tries; the database refuses with this state."""
    with pytest.raises(psycopg.Error) as caught:
        world.superuser.execute(sql, parameters)
    assert caught.value.sqlstate == sqlstate


def at_most_one_active_attempt(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    first = world.queued(user, reflection)
    second = world.open(user, reflection)
    assert world.attempt(first)["is_active"], "opening an upload activates nothing"
    activate = "update public.voice_clone_attempts set status = 'queued', is_active = true where id = %s"
    refused(world, errors.UniqueViolation.sqlstate, activate, second)
    world.queue(second, user)
    assert (world.attempt(first)["status"], world.attempt(first)["cancel_reason"]) == (
        "cancelled",
        "superseded",
    )
    assert world.attempt(second)["is_active"]


def only_the_edges(world: World) -> None:
    user = world.user()
    attempt = world.open(user, None)
    for status in ("processing", "verifying", "failed"):
        refused(world, "VC001",
                "update public.voice_clone_attempts set status = %s, lease_owner = 'x', lease_seconds = 0,"
                " error_code = 'x', error_message = 'x' where id = %s", status, attempt)  # fmt: skip
    assert world.attempt(attempt)["status"] == "awaiting_upload"


def a_transition_leaves_its_traces(world: World) -> None:
    user = world.user()
    attempt = world.open(user, world.reflection(user))
    before = world.attempt(attempt)["version"]
    world.queue(attempt, user)
    assert world.attempt(attempt)["version"] == before + 1
    events = world.service.execute(
        "select * from voice_clone.attempt_events(%s, %s, 0)", (attempt, user)
    ).fetchall()
    assert [event["events"] for event in events] == [["opened"], ["queued"]]
    assert [message["message"]["id"] for message in world.messages("voice_clone_process")] == [str(attempt)]
    assert len(world.messages("voice_mirror")) == 1
    assert world.deadline(attempt)["sweep_at"] is not None, "the sweep sends what is lost"
    world.claim(attempt)
    versions = "select array_agg(version order by id) as all from voice_clone.events where attempt_id = %s"
    assert world.truth(versions, attempt)["all"] == [before, before + 1, before + 2], "one event a version"


def a_stale_worker_writes_nothing(world: World) -> None:
    attempt = world.queued(world.user(), None)
    stale = world.claim(attempt, lease=0)["lease_epoch"]
    enrollment = world.intend(attempt, stale)
    current = world.claim(attempt)["lease_epoch"]
    assert current > stale
    before = world.attempt(attempt)
    with pytest.raises(psycopg.Error) as caught:
        world.attach(attempt, stale, enrollment)
    assert caught.value.sqlstate == "VC002"
    assert world.attempt(attempt) == before
    assert not world.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, stale)["held"]
    refused(world, "VC001", "update public.voice_clone_attempts set lease_epoch = 0 where id = %s", attempt)


def no_create_while_an_outcome_is_open(world: World) -> None:
    attempt = world.queued(world.user(), None)
    epoch = world.claim(attempt, lease=0)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    epoch = world.claim(attempt)["lease_epoch"]
    with pytest.raises(psycopg.Error) as caught:
        world.intend(attempt, epoch)
    assert caught.value.sqlstate == "VC007"
    with pytest.raises(psycopg.Error):  # and no voice without an enrollment of its own
        world.attach(attempt, epoch, world.user())
    world.one(
        "select voice_clone.resolve_enrollment(%s, %s, 'closed', 'never_made', null, 0)", enrollment, epoch
    )
    world.attach(attempt, epoch, world.intend(attempt, epoch))


def the_mirror_converges(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    world.superuser.execute(
        """update public.reflections set voice = '{"theme": "dark"}' where id = %s""", (reflection,)
    )
    attempt = world.launchable(user, reflection)
    mirror = world.mirror(reflection)
    assert mirror["theme"] == "dark", "keys of others are kept"
    assert (mirror["cloneStatus"], mirror["version"]) == ("ready", world.attempt(attempt)["version"])
    assert world.one("select voice_clone.mirror_reflections(%s) as count", [reflection])["count"] == 0
    for forged in ('{"cloneStatus": "ready"}', '{"theme": "dark"}'):
        refused(world, "42501", "update public.reflections set voice = %s where id = %s", forged, reflection)
    newer = world.queued(user, reflection)
    assert world.attempt(newer)["version"] > mirror["version"], "a newer attempt starts above what was shown"
    assert world.mirror(reflection)["attemptId"] == str(newer)
    sample = world.truth(
        "select consent_id from public.voice_samples where id = %s", world.attempt(newer)["sample_id"]
    )
    world.one("select * from voice_clone.revoke_consent(%s, %s)", sample["consent_id"], user)
    cleared = world.mirror(reflection)
    assert (cleared["cloneStatus"], cleared["attemptId"], cleared["theme"]) == ("none", None, "dark")
    assert cleared["version"] == world.attempt(newer)["version"]


def the_gate_reads_the_attempt(world: World) -> None:
    states = product(
        ("queued", "processing", "verifying", "ready", "failed"),
        ("pending", "syncing", "synced", "failed"),
        ("not_required", "required", "rendering", "rendered", "completed", "failed"),
    )
    for status, runtime, preview in states:
        launchable = status == "ready" and runtime == "synced" and preview in {"not_required", "completed"}
        blockers = world.truth(
            "select voice_clone.launch_blockers(%s, %s, %s) as b", status, runtime, preview
        )["b"]
        assert (blockers == []) == launchable, (status, runtime, preview)
    user = world.user()
    reflection = world.reflection(user)
    gate = "select launchable, blockers from voice_clone.launch_gate(%s, %s)"
    assert world.one(gate, reflection, user) == {"launchable": False, "blockers": ["no_voice"]}
    world.launchable(user, reflection)  # and no mirror was written
    assert world.one(gate, reflection, user) == {"launchable": True, "blockers": []}
    assert world.service.execute(gate, (reflection, world.user())).fetchall() == []


def a_late_completion_is_an_orphan(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    late = world.queued(user, reflection)
    epoch = world.claim(late)["lease_epoch"]
    enrollment = world.intend(late, epoch)
    newer = world.queued(user, reflection)
    seen = world.mirror(reflection)
    with pytest.raises(psycopg.Error) as caught:
        world.attach(late, epoch, enrollment)
    assert caught.value.sqlstate == "VC002"
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r', null) as status"
    assert world.one(report, enrollment)["status"] == "orphaned"
    assert world.mirror(reflection) == seen
    assert world.attempt(newer)["is_active"]
    orphans = world.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == ["late-voice"]
    assert world.truth("select count(*) from public.voices")["count"] == 0


def no_sample_without_consent(world: World) -> None:
    user, stranger = world.user(), world.user()
    reflection, other = world.reflection(user), world.reflection(user)
    revoked = world.consent(user)
    world.one("select * from voice_clone.revoke_consent(%s, %s)", revoked, user)
    for consent, subject in [
        (revoked, None),
        (world.consent(stranger), None),
        (world.consent(user, other), reflection),
        (world.consent(user, reflection), None),
    ]:
        with pytest.raises(psycopg.Error) as caught:
            world.open(user, subject, consent)
        assert caught.value.sqlstate == "VC003"
    world.open(user, reflection, world.consent(user, reflection))
    assert world.truth("select count(*) from public.voice_samples")["count"] == 1


def a_message_goes_with_its_effect(world: World) -> None:
    attempt = world.queued(world.user(), None)
    message = world.messages("voice_clone_process")[0]["msg_id"]
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    with world.service.transaction(force_rollback=True):
        world.attach(attempt, epoch, enrollment, message)
    assert [each["msg_id"] for each in world.messages("voice_clone_process")] == [message]
    world.attach(attempt, epoch, enrollment, message)
    assert world.messages("voice_clone_process") == []


def the_events_rebuild_the_row(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.launchable(user, reflection)
    superseded = world.queued(user, reflection)
    world.claim(superseded)
    assert world.one("select voice_clone.renew_lease(%s, 1, 90) as held", superseded)["held"]
    world.queued(user, reflection)
    for each in (attempt, superseded):
        assert world.truth("select * from voice_clone.replay(%s)", each) == world.attempt(each)


def a_client_sees_its_own_and_writes_nothing(world: World) -> None:
    user, stranger = world.user(), world.user()
    attempt = world.launchable(user, world.reflection(user))
    with as_client(world, stranger) as client:
        assert client.execute("select * from public.voice_clone_attempts").fetchall() == []
    with as_client(world, user) as client:
        assert [row["id"] for row in client.execute("select id from public.voice_clone_attempts")] == [
            attempt
        ]
    with as_client(world, user) as client, pytest.raises(errors.InsufficientPrivilege):
        client.execute("update public.voice_clone_attempts set status = 'cancelled'")


class as_client:  # noqa: N801 - reads as a clause
    """A connection as the Data API makes it: the role and the claims of one user."""

    def __init__(self, world: World, user: object) -> None:
        self._dsn = world.database.superuser
        self._user = user

    def __enter__(self) -> psycopg.Connection[Row]:
        self._connection = psycopg.Connection[Row].connect(self._dsn, row_factory=dict_row)
        self._connection.execute(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
            (f'{{"sub": "{self._user}", "role": "authenticated"}}',),
        )
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def run(statement: LiteralString) -> Mutant:
    return lambda world: (world.superuser.execute(statement), None)[1]


def patch(function: str, old: str, new: str) -> Mutant:
    return lambda world: world.replace(function, old, new)


INVARIANTS: dict[int, tuple[Check, Mutant]] = {
    1: (at_most_one_active_attempt, run("drop index public.voice_clone_attempts_active_reflection_idx")),
    2: (only_the_edges, patch("voice_clone.require_edge", "if not found then", "if false then")),
    3: (
        a_transition_leaves_its_traces,
        run("drop trigger voice_clone_attempts_append_event on public.voice_clone_attempts"),
    ),
    4: (a_stale_worker_writes_nothing, patch("voice_clone.require_lease", "and a.lease_epoch = p_epoch", "")),
    5: (no_create_while_an_outcome_is_open, run("drop index voice_clone.enrollments_open_idx")),
    6: (the_mirror_converges, run("drop trigger voice_clone_protect_mirror_keys on public.reflections")),
    7: (
        the_gate_reads_the_attempt,
        patch(
            "voice_clone.launch_blockers",
            "'not_required', 'completed'",
            "'not_required', 'rendered', 'completed'",
        ),
    ),
    8: (
        a_late_completion_is_an_orphan,
        patch("voice_clone.report_enrollment", "else 'orphaned'", "else x.status"),
    ),
    9: (no_sample_without_consent, run("drop trigger voice_samples_require_consent on public.voice_samples")),
    10: (
        a_message_goes_with_its_effect,
        patch("voice_clone.attach_voice", "where p_message_id is not null", "where false"),
    ),
    11: (
        the_events_rebuild_the_row,
        patch(
            "voice_clone.append_event",
            "jsonb_each(v_new)",
            "jsonb_each(v_new - 'target_model')",
        ),
    ),
    12: (
        a_client_sees_its_own_and_writes_nothing,
        run("alter table public.voice_clone_attempts disable row level security"),
    ),
}

# More ways to lose an invariant: each is found by the same check.
MUTANTS: dict[str, tuple[int, Mutant]] = {
    "a version that does not grow": (
        3,
        patch("voice_clone.check_attempt_transition", "new.version := old.version + 1", "new.version := 2"),
    ),
    "a second event of a version": (
        3,
        run(
            "create trigger voice_clone_attempts_append_twice after update on public.voice_clone_attempts"
            " for each row execute function voice_clone.append_event()"
        ),
    ),
    "no deadline": (3, run("drop trigger voice_clone_attempts_set_deadline on public.voice_clone_attempts")),
    "a stale renewal": (4, patch("voice_clone.renew_lease", "and d.lease_epoch = p_epoch", "")),
    "a message that stays": (
        10,
        patch(
            "voice_clone.acknowledge_messages", "pgmq.delete(p_queue, p_message_ids)", "unnest(p_message_ids)"
        ),
    ),
    "a first event that leaves out too much": (
        11,
        patch("voice_clone.append_event", "v_new := v_new - 'created_at'", "v_new := v_new - 'sample_id'"),
    ),
}
