"""The fifteen invariants of the lifecycle as checks, and for each a mutant that removes it.

A check passes on the migrated schema and must fail on its mutant: a check that cannot fail checks nothing.
"""

from collections.abc import Callable
from itertools import product
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row

from tests.fixture import Fixture, Row

FIRST_MIRROR: dict[str, object] = {
    "cloneStatus": "none", "runtimeStatus": "pending", "previewStatus": "not_required",
    "previewRequired": False, "attemptId": None, "voiceId": None, "provider": None, "targetModel": None,
    "error": None, "version": 0,
    "updatedAt": None,
}  # fmt: skip
Check = Callable[[Fixture], None]
Mutant = Callable[[Fixture], None]


def refused(given: Fixture, sqlstate: str | None, sql: LiteralString, *parameters: object) -> None:
    """The superuser tries it; the database refuses with this SQLSTATE."""
    with pytest.raises(psycopg.Error) as caught:
        given.superuser.execute(sql, parameters)
    assert caught.value.sqlstate == sqlstate


def at_most_one_active_attempt(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    first = given.queued(user, reflection)
    second = given.open(user, reflection)
    assert given.attempt(first)["is_active"], "opening an upload activates nothing"
    given.prepare(second, user)
    activate = "update public.voice_clone_attempts set status = 'queued', is_active = true where id = %s"
    refused(given, errors.UniqueViolation.sqlstate, activate, second)
    given.one("select * from voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)", second, user)
    assert (given.attempt(first)["status"], given.attempt(first)["cancel_reason"]) == (
        "cancelled",
        "superseded",
    )
    assert given.attempt(second)["is_active"]


def only_the_edges(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    for status in ("processing", "verifying", "failed"):
        refused(given, "VC001",
                "update public.voice_clone_attempts set status = %s, lease_owner = 'x', lease_seconds = 0,"
                " error_code = 'x', error_message = 'x' where id = %s", status, attempt)  # fmt: skip
    assert given.attempt(attempt)["status"] == "awaiting_upload"


def a_transition_leaves_its_traces(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, given.reflection(user))
    before = given.attempt(attempt)["version"]
    given.queue(attempt, user)
    assert given.attempt(attempt)["version"] == before + 1
    events = given.service.execute(
        "select * from voice_clone.attempt_events(%s, %s, 0)", (attempt, user)
    ).fetchall()
    assert [event["events"] for event in events] == [["opened"], ["queued"]]
    assert [message["message"]["id"] for message in given.messages("voice_clone_process")] == [str(attempt)]
    mirrors = "select count(*) from pgmq.q_voice_mirror m where m.message ->> 'id' = %s"
    assert given.truth(mirrors, str(given.attempt(attempt)["reflection_id"]))["count"] == 1
    assert given.deadline(attempt)["sweep_at"] is not None, "the sweep sends what is lost"
    given.claim(attempt)
    versions = "select array_agg(version order by id) as all from voice_clone.events where attempt_id = %s"
    assert given.truth(versions, attempt)["all"] == [before, before + 1, before + 2], "one event a version"


def a_stale_worker_writes_nothing(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    stale = given.claim(attempt, lease=0)["lease_epoch"]
    enrollment = given.intend(attempt, stale)
    current = given.claim(attempt)["lease_epoch"]
    assert current > stale
    before = given.attempt(attempt)
    with pytest.raises(psycopg.Error) as caught:
        given.attach(attempt, stale, enrollment)
    assert caught.value.sqlstate == "VC002"
    assert given.attempt(attempt) == before
    assert not given.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, stale)["held"]
    refused(given, "VC001", "update public.voice_clone_attempts set lease_epoch = 0 where id = %s", attempt)


def no_create_while_an_outcome_is_open(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt, lease=0)["lease_epoch"]
    enrollment = given.intend(attempt, epoch, settle=0)
    epoch = given.claim(attempt, lease=0)["lease_epoch"]
    with pytest.raises(psycopg.Error) as caught:
        given.intend(attempt, epoch)
    assert caught.value.sqlstate == "VC007"
    with pytest.raises(psycopg.Error):  # and no voice without an enrollment of its own
        given.attach(attempt, epoch, given.user())
    close = "select voice_clone.resolve_enrollment(%s, %s, 'closed', 'never_made', null, 0)"
    given.one(close, enrollment, epoch)
    unsettled = given.intend(attempt, epoch)
    epoch = given.claim(attempt)["lease_epoch"]
    refused_closing(given, "enrollment_not_settled", close, unsettled, epoch)
    report = "select voice_clone.report_enrollment(%s, %s, 'm', false, 'r', null) as status"
    assert given.one(report, unsettled, f"voice-of-{unsettled}")["status"] == "intended"
    refused_closing(given, "enrollment_has_voice", close, unsettled, epoch)
    update = "update voice_clone.enrollments set status = 'closed' where id = %s"
    refused(given, errors.CheckViolation.sqlstate, update, unsettled)
    given.attach(attempt, epoch, unsettled)


def refused_closing(given: Fixture, code: str, sql: str, *parameters: object) -> None:
    with pytest.raises(psycopg.Error) as caught:
        given.one(sql, *parameters)
    assert caught.value.sqlstate == "VC007"
    assert f'"{code}"' in (caught.value.diag.message_detail or "")


def the_mirror_converges(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.superuser.execute(
        """update public.reflections set voice = '{"theme": "dark"}' where id = %s""", (reflection,)
    )
    assert given.voice(reflection) == FIRST_MIRROR | {"theme": "dark"}, (
        "every key is there before the first clone"
    )
    attempt = given.launchable(user, reflection)
    mirror = given.mirror(reflection)
    assert mirror["theme"] == "dark", "keys of others are kept"
    assert (mirror["cloneStatus"], mirror["version"]) == ("ready", given.attempt(attempt)["version"])
    assert given.one("select voice_clone.mirror_reflections(%s) as count", [reflection])["count"] == 0
    for forged in ('{"cloneStatus": "ready"}', '{"theme": "dark"}'):
        refused(given, "42501", "update public.reflections set voice = %s where id = %s", forged, reflection)
        with given.superuser.transaction():  # nor with a setting of one's own
            given.superuser.execute("select set_config('voice_clone.mirror_pass', 'forged', true)")
            with given.superuser.transaction(force_rollback=True):
                refused(
                    given, "42501", "update public.reflections set voice = %s where id = %s",
                    forged, reflection,
                )  # fmt: skip
    newer = given.queued(user, reflection)
    assert given.attempt(newer)["version"] > mirror["version"], "a newer attempt starts above what was shown"
    assert given.mirror(reflection)["attemptId"] == str(newer)
    sample = given.truth(
        "select consent_id from public.voice_samples where id = %s", given.attempt(newer)["sample_id"]
    )
    given.one("select * from voice_clone.revoke_consent(%s, %s)", sample["consent_id"], user)
    cleared = given.mirror(reflection)
    assert (cleared["cloneStatus"], cleared["attemptId"], cleared["theme"]) == ("none", None, "dark")
    assert cleared["version"] == given.attempt(newer)["version"]
    the_mirror_heals(given, user, reflection)


def the_mirror_heals(given: Fixture, user: UUID, reflection: UUID) -> None:
    """A transition that a consumer has not read sends its own message, and the sweep replaces a lost one."""
    attempt = given.queued(user, reflection)
    waiting = "select count(*) from pgmq.q_voice_mirror"
    with psycopg.connect(given.database.service) as consumer:
        consumer.execute("select voice_clone.mirror_unlocked_reflections(%s)", ([reflection],))
        given.superuser.execute("select pgmq.purge_queue('voice_mirror')")
        epoch = given.claim(attempt)["lease_epoch"]
        assert given.truth(waiting)["count"] == 1, "the consumer may have read the attempt already"
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, epoch)
    given.superuser.execute("select pgmq.purge_queue('voice_mirror')")
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    given.one("select count(*) from voice_clone.sweep(100)")
    assert given.truth(waiting)["count"] > 0, "the sweep compares mirrors with attempts"


def the_gate_reads_the_attempt(given: Fixture) -> None:
    states = product(
        ("queued", "processing", "verifying", "ready", "failed"),
        ("pending", "syncing", "synced", "failed"),
        ("not_required", "required", "rendering", "rendered", "completed", "failed"),
    )
    for status, runtime, preview in states:
        launchable = status == "ready" and runtime == "synced" and preview in {"not_required", "completed"}
        blockers = given.truth(
            "select voice_clone.launch_blockers(%s, %s, %s) as b", status, runtime, preview
        )["b"]
        assert (blockers == []) == launchable, (status, runtime, preview)
    user = given.user()
    reflection = given.reflection(user)
    gate = "select launchable, blockers from voice_clone.launch_gate(%s, %s)"
    assert given.one(gate, reflection, user) == {"launchable": False, "blockers": ["no_voice"]}
    given.launchable(user, reflection)  # and no mirror was written
    assert given.one(gate, reflection, user) == {"launchable": True, "blockers": []}
    assert given.service.execute(gate, (reflection, given.user())).fetchall() == []
    other = given.user()
    given.superuser.execute("update public.reflections set user_id = %s where id = %s", (other, reflection))
    assert given.one(gate, reflection, other) == {"launchable": False, "blockers": ["no_voice"]}
    active = "select count(*) from public.voice_clone_attempts where reflection_id = %s and is_active"
    assert given.truth(active, reflection)["count"] == 0, "its voice is its former owner's"


def a_late_completion_is_an_orphan(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    late = given.queued(user, reflection)
    epoch = given.claim(late)["lease_epoch"]
    enrollment = given.intend(late, epoch)
    newer = given.queued(user, reflection)
    seen = given.mirror(reflection)
    with pytest.raises(psycopg.Error) as caught:
        given.attach(late, epoch, enrollment)
    assert caught.value.sqlstate == "VC002"
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r', null) as status"
    assert given.one(report, enrollment)["status"] == "orphaned"
    assert given.mirror(reflection) == seen
    assert given.attempt(newer)["is_active"]
    orphans = given.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == ["late-voice"]
    assert given.truth("select count(*) from public.voices")["count"] == 0


def no_sample_without_consent(given: Fixture) -> None:
    user, stranger = given.user(), given.user()
    reflection, other = given.reflection(user), given.reflection(user)
    revoked = given.consent(user)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", revoked, user)
    for consent, subject in [
        (revoked, None),
        (given.consent(stranger), None),
        (given.consent(user, other), reflection),
        (given.consent(user, reflection), None),
    ]:
        with pytest.raises(psycopg.Error) as caught:
            given.open(user, subject, consent)
        assert caught.value.sqlstate == "VC003"
        with pytest.raises(psycopg.Error):  # also where no function looked first
            given.superuser.execute(
                "insert into public.voice_samples"
                " (user_id, consent_id, reflection_id, path, content_type, bytes)"
                " values (%s, %s, %s, gen_random_uuid()::text, 'audio/wav', 1)", (user, consent, subject),
            )  # fmt: skip
    given.open(user, reflection, given.consent(user, reflection))
    assert given.truth("select count(*) from public.voice_samples")["count"] == 1


def a_message_goes_with_its_effect(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    message = given.messages("voice_clone_process")[0]["msg_id"]
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    with given.service.transaction(force_rollback=True):
        given.attach(attempt, epoch, enrollment, message)
    assert [each["msg_id"] for each in given.messages("voice_clone_process")] == [message]
    given.attach(attempt, epoch, enrollment, message)
    assert given.messages("voice_clone_process") == []


def the_events_rebuild_the_row(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    superseded = given.queued(user, reflection)
    given.claim(superseded)
    assert given.one("select voice_clone.renew_lease(%s, 1, 90) as held", superseded)["held"]
    given.queued(user, reflection)
    for each in (attempt, superseded):
        assert given.truth("select * from voice_clone.replay(%s)", each) == given.attempt(each)


def a_client_sees_its_own_and_writes_nothing(given: Fixture) -> None:
    user, stranger = given.user(), given.user()
    attempt = given.launchable(user, given.reflection(user))
    with as_client(given, stranger) as client:
        assert client.execute("select id from public.voice_clone_attempts").fetchall() == []
    with as_client(given, user) as client:
        assert [row["id"] for row in client.execute("select id from public.voice_clone_attempts")] == [
            attempt
        ]
    with as_client(given, user) as client, pytest.raises(errors.InsufficientPrivilege):
        client.execute("update public.voice_clone_attempts set status = 'cancelled'")


def what_is_revoked_or_deleted_goes(given: Fixture) -> None:
    for is_revoked in (True, False):
        user = given.user()
        original = given.launchable(user, given.reflection(user))
        enrollment = given.truth("select * from voice_clone.enrollments where attempt_id = %s", original)
        elsewhere = given.reflection(user)
        use = given.one(
            "select * from voice_clone.use_custom_voice"
            "(gen_random_uuid(), %s, %s, 'local', '', %s, null, 'm', 'Ada', 'en', true)",
            user, elsewhere, enrollment["provider_voice_id"],
        )["id"]  # fmt: skip
        sample = given.truth(
            "select * from public.voice_samples where id = %s", given.attempt(original)["sample_id"]
        )
        if is_revoked:
            given.one("select * from voice_clone.revoke_consent(%s, %s)", sample["consent_id"], user)
        else:
            voice = given.attempt(original)["voice_id"]
            given.one("select voice_clone.delete_voice(%s, %s)", voice, user)
            begun = given.one("select * from voice_clone.begin_cleanup(%s)", enrollment["id"])
            assert begun["reason"] == "attached", "its retention has begun"
            given.truth("select voice_clone.release_deleted_voices(10, '0')")
        for attempt in (original, use):
            assert given.attempt(attempt)["status"] == "cancelled"
        spoken = "select count(*) from public.voices where user_id = %s and deleted_at is null"
        assert given.truth(spoken, user)["count"] == 0
        folder = "select count(*) from voice_clone.object_removals where folder = %s"
        assert given.truth(folder, f"{user}/{original}")["count"] == 2, "the recording and the preview"
        begun = given.one("select * from voice_clone.begin_cleanup(%s)", enrollment["id"])
        assert begun["task"] == "remove", "without the grace period of an orphan"


def what_is_lost_is_silent(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    ready = given.attempt(attempt)
    enrollment = given.truth("select * from voice_clone.enrollments where attempt_id = %s", attempt)
    fail = (
        "update public.voice_clone_attempts set status = 'failed', runtime_status = 'pending',"
        " preview_status = 'required', error_code = 'x', error_message = 'x' where id = %s"
    )
    refused(given, "VC001", fail, attempt)
    runtime = "update public.voice_clone_attempts set runtime_status = 'pending' where id = %s"
    refused(given, "VC001", runtime, attempt)
    lose = "select voice_clone.lose_voice('local', '', '{}', %s) as lost"
    assert given.one(lose, enrollment["provider_voice_id"])["lost"] == 1
    assert given.one(lose, enrollment["provider_voice_id"])["lost"] == 0
    lost = given.attempt(attempt)
    assert (lost["status"], lost["error_code"], lost["runtime_status"]) == ("failed", "voice_lost", "pending")
    assert lost["preview_status"] == "required", "another voice is heard again"
    gate = given.one("select blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    assert gate["blockers"] == ["clone_failed", "voice_lost"]
    kept = (
        "select status, (select lost_at is not null from public.voices v where v.attempt_id = e.attempt_id)"
    )
    left = given.truth(f"{kept} as is_lost from voice_clone.enrollments e where id = %s", enrollment["id"])
    assert left == {"status": "removed", "is_lost": True}
    given.one("select * from voice_clone.retry_attempt(%s, %s)", reflection, user)
    given.enroll(attempt)
    voice = given.truth("select * from public.voices where attempt_id = %s", attempt)
    assert (voice["id"], voice["lost_at"]) == (ready["voice_id"], None), "the same voice, made again"
    assert voice["provider_voice_id"] != enrollment["provider_voice_id"]


def what_is_taken_down_is_silent(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    again = (
        "select * from voice_clone.clone_sample(gen_random_uuid(), %s, %s, null, 'local', '', true, 'Ada')"
    )
    sample = given.attempt(attempt)["sample_id"]
    made = given.one(again, user, sample)["id"]
    take_down = "select count(*) from operations.take_down(%s, 'Notice 17', true)"
    assert given.truth(take_down, attempt)["count"] == 2, "all that is of its sample"
    gate = "select blockers from voice_clone.launch_gate(%s, %s)"
    assert given.one(gate, reflection, user)["blockers"] == ["voice_taken_down"]
    assert given.mirror(reflection)["cloneStatus"] == "failed"
    assert given.claim(made)["outcome"] == "nothing_to_do"
    speak = (
        "select * from voice_clone.request_speech(gen_random_uuid(), %s, %s, 'local', '', 'Hello.', 'Ada')"
    )
    for sql in (again, speak):
        with pytest.raises(psycopg.Error) as caught:
            given.one(sql, user, sample)
        assert caught.value.sqlstate == "VC007"
    given.truth("select count(*) from operations.lift_takedown(%s, 'Withdrawn', true)", attempt)
    assert given.one(gate, reflection, user)["blockers"] == []
    assert given.claim(made)["outcome"] == "claimed"


class as_client:  # noqa: N801 - reads as a clause
    """A connection as the Data API makes it: the role and the claims of one user."""

    def __init__(self, given: Fixture, user: object) -> None:
        self._dsn = given.database.superuser
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
    return lambda given: (given.superuser.execute(statement), None)[1]


def patch(function: str, old: str, new: str) -> Mutant:
    return lambda given: given.replace(function, old, new)


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
            "voice_clone.changed_columns(v_old, new)",
            "voice_clone.changed_columns(v_old, new) - 'target_model'",
        ),
    ),
    12: (
        a_client_sees_its_own_and_writes_nothing,
        run("alter table public.voice_clone_attempts disable row level security"),
    ),
    13: (
        what_is_revoked_or_deleted_goes,
        patch("voice_clone.apply_revocation", "perform voice_clone.withdraw(v_attempts);", ""),
    ),
    14: (
        what_is_lost_is_silent,
        patch("voice_clone.lose_voice", "(v_attempts) and a.status = 'ready'", "(v_attempts) and false"),
    ),
    15: (
        what_is_taken_down_is_silent,
        patch("voice_clone.refuse_taken_down_origin", "a.sample_id = new.sample_id", "false"),
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
    "a guard that any setting opens": (
        6,
        patch(
            "voice_clone.protect_mirror_keys",
            "= voice_clone.mirror_pass(pg_trigger_depth())",
            "<> ''",
        ),
    ),
    "an intent that is closed although its voice is known": (
        5,
        patch("voice_clone.resolve_enrollment", "and e.provider_voice_id is not null", "and false"),
    ),
    "an intent that is closed before its voice can appear": (
        5,
        patch("voice_clone.resolve_enrollment", "and e.settles_at > now()", "and false"),
    ),
    "a closed enrollment with a voice": (
        5,
        run("alter table voice_clone.enrollments drop constraint enrollments_closed"),
    ),
    "a transition that relies on a message that is being handled": (
        6,
        patch(
            "voice_clone.has_mirror_message",
            "pg_try_advisory_xact_lock_shared(voice_clone.mirror_lock(p_subject))",
            "true",
        ),
    ),
    "a row that begins without a mirror": (
        6,
        run("drop trigger voice_clone_add_first_mirror on public.reflections"),
    ),
    "a mirror that is never compared": (
        6,
        patch(
            "voice_clone.sweep",
            "voice_clone.is_mirror_behind(coalesce(a.reflection_id, a.employee_id))",
            "false",
        ),
    ),
    "a message that stays": (
        10,
        patch(
            "voice_clone.acknowledge_messages", "pgmq.delete(p_queue, p_message_ids)", "unnest(p_message_ids)"
        ),
    ),
    "a reflection that changes hands with its voice": (
        7,
        run("drop trigger voice_clone_release on public.reflections"),
    ),
    "a use that speaks on without its original": (
        13,
        patch("voice_clone.silence", "p_attempts => v_uses", "p_attempts => '{}'"),
    ),
    "a retention that releases nothing": (
        13,
        patch("voice_clone.release_deleted_voices", "set status = 'orphaned', ", "set status = 'attached', "),
    ),
    "a recording that stays": (
        13,
        patch("voice_clone.follow_sample", "perform voice_clone.request_object_removal", "perform concat"),
    ),
    "a deleted voice that is removed at once": (
        13,
        patch(
            "voice_clone.delete_voice",
            "'voice_deleted');",
            "'voice_deleted'); perform voice_clone.release_deleted_voices(1, '0');",
        ),
    ),
    "a ready voice that fails without being lost": (
        14,
        run("drop trigger voice_clone_attempts_require_lost_voice on public.voice_clone_attempts"),
    ),
    "a lost voice that still has its slot": (
        14,
        patch("voice_clone.lose_voice", "set status = 'removed', ", "set status = 'attached', "),
    ),
    "a gate that stays open": (
        15,
        patch("voice_clone.launch_blockers", "p_taken_down_at is not null", "false"),
    ),
    "a frozen attempt that is worked on": (
        15,
        patch("voice_clone.claim_attempt", "or a.taken_down_at is not null", ""),
    ),
    "a first event that leaves out too much": (
        11,
        patch("voice_clone.append_event", "v_changes - 'created_at'", "v_changes - 'sample_id'"),
    ),
}
