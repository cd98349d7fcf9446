"""Recordings of calls: matched, fetched under a lease, the newest kept. Each check fails on its mutant."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.invariants import Check, Mutant, patch, run
from tests.database.situations import sweep
from tests.fixture import Fixture, Row

ACCOUNT = f"AC{0:032x}"
MORNING = datetime(2026, 11, 20, 8, tzinfo=UTC)
OVER = "update voice_clone.recordings set lease_expires_at = now(), sweep_at = now() where id = %s"
COMPLETE = "select voice_clone.complete_recording(%s, %s, 100, %s)"
FAIL = "select voice_clone.fail_recording(%s, %s, 'code', 'No.', %s)"
REQUEUE = "select voice_clone.requeue_recording(%s, %s, 0, 'code', 'No.', %s, %s) as what"
MOVE = "select * from operations.claim_recording_move(%s, %s, %s, 'a command')"
END_MOVE = "select operations.complete_recording_move(%s, %s, %s, 100) as is_moved"
ASSIGN = "select voice_clone.assign_recording(%s, %s, %s) as status"
ADMINISTERED = "and x.org_id = any (array(select voice_clone.administered_organizations(p_user)))"
LIST = "select id from voice_clone.list_recordings(%s, %s, 'infinity', gen_random_uuid(), 100)"


def sid(prefix: str) -> str:
    return prefix + uuid4().hex


def employee(given: Fixture, admin: UUID | None = None) -> tuple[UUID, UUID]:
    """The employee and their organization."""
    organization = given.organization(admin or given.user())
    return given.employee(organization), organization


def call_of(given: Fixture, of: UUID) -> str:
    call = sid("CA")
    given.superuser.execute("insert into public.calls (employee_id, call_sid) values (%s, %s)", (of, call))
    return call


def receive(
    given: Fixture, call: str, *, recording: str = "", hours: int = 0, organization: UUID | None = None
) -> Row:
    return given.one(
        "select * from voice_clone.receive_recording(%s, %s, %s, %s, 12, 1, %s)",
        ACCOUNT, call, recording or sid("RE"), MORNING + timedelta(hours=hours), organization,
    )  # fmt: skip


def received(given: Fixture, of: UUID, hours: int = 0) -> UUID:
    return receive(given, call_of(given, of), hours=hours)["recording_id"]


def row(given: Fixture, recording: UUID) -> Row:
    return given.truth("select * from voice_clone.recordings where id = %s", recording)


def claim(given: Fixture, recording: UUID) -> Row:
    return given.one("select * from voice_clone.claim_recording(%s, 'worker')", recording)


def begin_move(given: Fixture, call: str, recording: str, hours: int = 0) -> Row:
    return given.one(MOVE, call, recording, MORNING + timedelta(hours=hours))


def claimed(given: Fixture) -> tuple[UUID, int]:
    recording = received(given, employee(given)[0])
    return recording, claim(given, recording)["lease_epoch"]


def stored(given: Fixture, recording: UUID) -> UUID:
    given.one(COMPLETE, recording, claim(given, recording)["lease_epoch"], None)
    return recording


def messages(given: Fixture) -> list[UUID]:
    return [UUID(each["message"]["id"]) for each in given.messages("recordings")]


def message_of(given: Fixture, recording: UUID) -> int:
    found = (m["msg_id"] for m in given.messages("recordings") if m["message"]["id"] == str(recording))
    return next(found)


def refused(given: Fixture, sqlstate: str, sql: str, *parameters: object) -> Row:
    with pytest.raises(psycopg.Error) as caught:
        given.one(sql, *parameters)
    assert caught.value.sqlstate == sqlstate
    return json.loads(caught.value.diag.message_detail or "{}")


def a_callback_that_comes_twice_makes_one_recording(given: Fixture) -> None:
    of, organization = employee(given)
    call, recording = call_of(given, of), sid("RE")
    first = receive(given, call, recording=recording)
    assert (first["status"], first["is_new"]) == ("pending", True)
    again = receive(given, call, recording=recording)
    assert (again["recording_id"], again["is_new"]) == (first["recording_id"], False)
    assert messages(given) == [first["recording_id"]]
    stored(given, first["recording_id"])
    assert receive(given, call, recording=recording)["status"] == "stored"
    assert messages(given) == [first["recording_id"]]
    found = row(given, first["recording_id"])
    assert (found["employee_id"], found["org_id"], found["recorded_at"]) == (of, organization, MORNING)


def a_recording_without_a_known_employee_is_not_fetched(given: Fixture) -> None:
    of, _ = employee(given)
    another, _ = employee(given)
    for call in (sid("CA"), two_records(given, of, another)):
        found = receive(given, call)
        assert found["status"] == "unmatched"
        assert claim(given, found["recording_id"])["outcome"] == "nothing_to_do"
    assert messages(given) == []


def two_records(given: Fixture, *of: UUID) -> str:
    """The records of one call, in a table of an application without a unique index."""
    given.superuser.execute("alter table public.calls drop constraint calls_call_sid_key")
    call = sid("CA")
    for each in of:
        given.superuser.execute(
            "insert into public.calls (employee_id, call_sid) values (%s, %s)", (each, call)
        )
    return call


def a_record_of_the_call_that_comes_late_matches(given: Fixture) -> None:
    of, organization = employee(given)
    call = sid("CA")
    recording = receive(given, call)["recording_id"]
    given.superuser.execute("insert into public.calls (employee_id, call_sid) values (%s, %s)", (of, call))
    found = row(given, recording)
    assert (found["status"], found["employee_id"], found["org_id"]) == ("pending", of, organization)
    assert messages(given) == [recording]


def an_admin_sees_and_assigns_what_is_of_their_organization(given: Fixture) -> None:
    admin, member, stranger = given.user(), given.user(), given.user()
    of, organization = employee(given, admin)
    elsewhere, _ = employee(given, stranger)
    given.add_member(organization, member)
    mine = receive(given, sid("CA"), organization=organization)["recording_id"]
    nobodys = receive(given, sid("CA"))["recording_id"]
    unknown = receive(given, sid("CA"), organization=uuid4())["recording_id"]
    assert row(given, unknown)["org_id"] is None
    seen = {who: listed(given, who) for who in (admin, member, stranger)}
    assert seen == {admin: [mine], member: [], stranger: []}
    for who in (member, stranger):
        refused(given, "VC004", ASSIGN, mine, of, who)
    refused(given, "VC004", ASSIGN, nobodys, of, admin)
    assert refused(given, "VC004", ASSIGN, mine, elsewhere, admin) == {"field": "employee_id"}
    assert given.one(ASSIGN, mine, of, admin)["status"] == "pending"
    assert given.one(ASSIGN, mine, of, admin)["status"] == "pending", "the same again changes nothing"
    assert messages(given) == [mine]
    colleague = given.employee(organization)
    assert refused(given, "VC007", ASSIGN, mine, colleague, admin)["code"] == "recording_assigned"
    assert listed(given, admin, "unmatched") == []


def listed(given: Fixture, user: UUID, status: str | None = None) -> list[UUID]:
    return [each["id"] for each in given.service.execute(LIST, (user, status)).fetchall()]


def an_operator_assigns_what_no_organization_sees(given: Fixture) -> None:
    of, organization = employee(given)
    recording = receive(given, sid("CA"))["recording_id"]
    unseen = "select array_agg(id) as ids from operations.unmatched_recordings()"
    assert given.truth(unseen)["ids"] == [recording]
    given.truth("select operations.assign_recording(%s, %s)", recording, of)
    found = row(given, recording)
    assert (found["status"], found["employee_id"], found["org_id"]) == ("pending", of, organization)


def an_older_recording_never_replaces_a_newer_one(given: Fixture) -> None:
    of, _ = employee(given)
    newer, older = received(given, of, hours=2), received(given, of, hours=1)
    stored(given, newer)
    assert claim(given, older)["outcome"] == "superseded"
    assert (row(given, newer)["status"], row(given, older)["status"]) == ("stored", "superseded")
    newest = stored(given, received(given, of, hours=3))
    assert (row(given, newest)["status"], row(given, newer)["status"]) == ("stored", "superseded")


def one_worker_of_an_employee_at_a_time(given: Fixture) -> None:
    of, _ = employee(given)
    first, second = received(given, of, hours=1), received(given, of, hours=2)
    epoch = claim(given, first)["lease_epoch"]
    assert claim(given, second)["outcome"] == "busy"
    given.superuser.execute(OVER, (first,))
    assert claim(given, second)["outcome"] == "claimed", "the lease of the other is over"
    assert row(given, first)["status"] == "pending"
    refused(given, "VC002", COMPLETE, first, epoch, None)
    with pytest.raises(psycopg.errors.UniqueViolation):
        given.superuser.execute(
            "update voice_clone.recordings set status = 'processing', lease_owner = 'x', leased_at = now(),"
            " lease_expires_at = now() where id = %s", (first,),
        )  # fmt: skip


def a_worker_with_an_older_lease_writes_nothing(given: Fixture) -> None:
    recording, stale = claimed(given)
    given.superuser.execute(OVER, (recording,))
    current = claim(given, recording)["lease_epoch"]
    assert current > stale
    before = row(given, recording)
    for sql, *values in ((COMPLETE, None), (FAIL, None), (REQUEUE, False, None)):
        refused(given, "VC002", sql, recording, stale, *values)
    renew = "select voice_clone.renew_recording(%s, %s) as held"
    assert not given.one(renew, recording, stale)["held"]
    assert row(given, recording) == before
    assert given.one(renew, recording, current)["held"]


def a_message_goes_with_its_effect(given: Fixture) -> None:
    for sql, *values in ((COMPLETE,), (FAIL,), (REQUEUE, False)):
        recording, epoch = claimed(given)
        message = message_of(given, recording)
        with given.service.transaction(force_rollback=True):
            given.one(sql, recording, epoch, *values, message)
        assert message_of(given, recording) == message
        given.one(sql, recording, epoch, *values, message)
        assert message not in [each["msg_id"] for each in given.messages("recordings")]


def only_the_edges(given: Fixture) -> None:
    recording = received(given, employee(given)[0])
    update = (
        "update voice_clone.recordings set status = %s, bytes = 1, stored_at = now(), error_code = 'x',"
        " error_message = 'x' where id = %s"
    )
    for status in ("stored", "failed"):
        with pytest.raises(psycopg.Error) as caught:
            given.superuser.execute(update, (status, recording))
        assert caught.value.sqlstate == "VC001"


def its_call_its_employee_and_its_epoch_stay(given: Fixture) -> None:
    recording, _ = claimed(given)
    another, _ = employee(given)
    for change in ("lease_epoch = 0", f"employee_id = '{another}'", f"call_sid = '{sid('CA')}'"):
        with pytest.raises(psycopg.Error) as caught:
            given.superuser.execute(
                f"update voice_clone.recordings set {change} where id = %s".encode(),  # noqa: S608
                (recording,),
            )
        assert caught.value.sqlstate == "VC001"


def a_failure_is_tried_again_within_the_budget(given: Fixture) -> None:
    recording = received(given, employee(given)[0])
    for _ in range(7):
        epoch = claim(given, recording)["lease_epoch"]
        assert given.one(REQUEUE, recording, epoch, False, None)["what"] == "requeued"
    epoch = claim(given, recording)["lease_epoch"]
    assert given.one(REQUEUE, recording, epoch, False, None)["what"] == "failed"
    found = row(given, recording)
    assert (found["status"], found["error_code"]) == ("failed", "code")
    admin = given.user()
    given.add_member(found["org_id"], admin, "admin")
    assert given.one(ASSIGN, recording, found["employee_id"], admin)["status"] == "pending"
    assert claim(given, recording)["outcome"] == "claimed", "an admin had it fetched again"


def an_outage_uses_up_no_try_and_has_an_end(given: Fixture) -> None:
    recording = received(given, employee(given)[0])
    for _ in range(20):
        epoch = claim(given, recording)["lease_epoch"]
        assert given.one(REQUEUE, recording, epoch, True, None)["what"] == "requeued"
    assert row(given, recording)["process_count"] == 0
    given.superuser.execute("update voice_clone.recordings set waiting_since = now() - interval '25 hours'")
    epoch = claim(given, recording)["lease_epoch"]
    assert given.one(REQUEUE, recording, epoch, True, None)["what"] == "failed"


def a_worker_that_stops_is_replaced_within_the_budget(given: Fixture) -> None:
    recording = received(given, employee(given)[0])
    for _ in range(7):
        claim(given, recording)
        given.superuser.execute(OVER, (recording,))
        assert sweep(given)["recording_requeued"] == 1
    claim(given, recording)
    given.superuser.execute(OVER, (recording,))
    assert sweep(given)["recording_failed"] == 1
    assert row(given, recording)["error_code"] == "worker_lost"


def a_lost_message_is_sent_again(given: Fixture) -> None:
    recording = received(given, employee(given)[0])
    given.superuser.execute("select pgmq.purge_queue('recordings')")
    assert "recording_sent" not in sweep(given)
    given.superuser.execute("update voice_clone.recordings set sweep_at = now()")
    assert sweep(given)["recording_sent"] == 1
    assert messages(given) == [recording]
    assert row(given, recording)["sweep_at"] > datetime.now(UTC)


def an_unmatched_recording_is_forgotten_in_time(given: Fixture) -> None:
    recording = receive(given, sid("CA"))["recording_id"]
    due = row(given, recording)["sweep_at"] - row(given, recording)["created_at"]
    assert due == timedelta(days=30)
    given.superuser.execute("update voice_clone.recordings set sweep_at = now()")
    assert sweep(given)["recording_expired"] == 1
    assert given.truth("select count(*) from voice_clone.recordings")["count"] == 0


def what_is_kept_goes_with_its_employee_or_its_organization(given: Fixture) -> None:
    of, organization = employee(given)
    colleague = given.employee(organization)
    for each in (of, colleague):
        stored(given, received(given, each))
    removals = (
        "select array_agg(folder order by folder) as f from voice_clone.object_removals"
        " where bucket = 'recordings'"
    )
    given.superuser.execute("delete from public.employees where id = %s", (of,))
    assert given.truth(removals)["f"] == [str(of)]
    receive(given, sid("CA"), organization=organization)
    given.superuser.execute("delete from public.organizations where id = %s", (organization,))
    assert given.truth(removals)["f"] == sorted(map(str, (of, colleague)))
    assert given.truth("select count(*) from voice_clone.recordings")["count"] == 0


def a_command_that_moves_an_object_holds_its_employee_until_its_lease_is_over(given: Fixture) -> None:
    of, _ = employee(given)
    call, waiting = call_of(given, of), received(given, of)
    move = begin_move(given, call, sid("RE"), hours=1)
    assert move["outcome"] == "movable"
    assert claim(given, waiting)["outcome"] == "busy"
    assert begin_move(given, call, sid("RE"), hours=2)["outcome"] == "later"
    given.superuser.execute(OVER, (move["recording_id"],))
    assert sweep(given)["recording_move_given_up"] == 1
    assert given.truth("select count(*) from voice_clone.recordings")["count"] == 1, "the one that waits"
    assert claim(given, waiting)["outcome"] == "claimed"


def a_command_that_lost_its_lease_leaves_no_copy(given: Fixture) -> None:
    of, _ = employee(given)
    move = begin_move(given, call_of(given, of), sid("RE"))
    given.superuser.execute(OVER, (move["recording_id"],))
    sweep(given)
    late = given.one(END_MOVE, move["recording_id"], move["lease_epoch"], of)
    assert not late["is_moved"]
    removals = "select folder from voice_clone.object_removals where bucket = 'recordings'"
    assert given.truth(removals)["folder"] == str(of)
    assert begin_move(given, call_of(given, of), sid("RE"))["outcome"] == "movable"


def while_an_object_is_removed_nothing_is_moved_to_it(given: Fixture) -> None:
    of, _ = employee(given)
    given.superuser.execute(
        "insert into voice_clone.object_removals (bucket, folder, final_at, sweep_at, busy_until)"
        " values ('recordings', %s, now(), now(), now() + interval '1 minute')", (str(of),),
    )  # fmt: skip
    assert begin_move(given, call_of(given, of), sid("RE"))["outcome"] == "later"


RULES: dict[Check, Mutant] = {
    a_command_that_moves_an_object_holds_its_employee_until_its_lease_is_over: patch(
        "voice_clone.recover_recording", "if r.account_sid is null", "if false"
    ),
    a_command_that_lost_its_lease_leaves_no_copy: patch(
        "operations.complete_recording_move", "perform voice_clone.remove_late_recording(p_employee)", "null"
    ),
    while_an_object_is_removed_nothing_is_moved_to_it: patch(
        "voice_clone.recording_move",
        "when voice_clone.recording_removed_until(v_employee) is not null",
        "when false",
    ),
    a_callback_that_comes_twice_makes_one_recording: run(
        "create or replace function voice_clone.follow_recording() returns trigger language plpgsql"
        " as $$ begin return null; end $$"
    ),
    a_recording_without_a_known_employee_is_not_fetched: patch(
        "voice_clone.employee_of_call", "having count(distinct c.employee_id) = 1", ""
    ),
    a_record_of_the_call_that_comes_late_matches: run(
        "drop trigger voice_clone_match_recordings on public.calls"
    ),
    an_admin_sees_and_assigns_what_is_of_their_organization: patch(
        "voice_clone.administered_organizations", "and m.role::text = 'admin'", ""
    ),
    an_operator_assigns_what_no_organization_sees: patch(
        "operations.unmatched_recordings", "and r.org_id is null", "and r.org_id is not null"
    ),
    an_older_recording_never_replaces_a_newer_one: patch(
        "voice_clone.claim_recording",
        "> (r.recorded_at, r.recording_sid)",
        "< (r.recorded_at, r.recording_sid)",
    ),
    one_worker_of_an_employee_at_a_time: run("drop index voice_clone.recordings_one_worker_idx"),
    a_worker_with_an_older_lease_writes_nothing: patch(
        "voice_clone.require_recording_lease", "and x.lease_epoch = p_epoch", ""
    ),
    a_message_goes_with_its_effect: patch(
        "voice_clone.require_recording_lease", "where p_message_id is not null", "where false"
    ),
    only_the_edges: run(
        "insert into voice_clone.edges (machine, from_status, to_status, event)"
        " values ('recording', 'pending', 'stored', 'stored')"
    ),
    its_call_its_employee_and_its_epoch_stay: patch(
        "voice_clone.check_recording", "new.employee_id <> old.employee_id", "false"
    ),
    a_failure_is_tried_again_within_the_budget: patch(
        "voice_clone.requeue_or_fail_recording", "r.process_count < r.process_budget", "true"
    ),
    an_outage_uses_up_no_try_and_has_an_end: patch(
        "voice_clone.requeue_or_fail_recording", "'outage') > now()", "'outage') > '-infinity'"
    ),
    a_worker_that_stops_is_replaced_within_the_budget: patch(
        "voice_clone.sweep_recording", "elsif r.status = 'processing' and", "elsif false and"
    ),
    a_lost_message_is_sent_again: patch("voice_clone.sweep_recording", "if r.status = 'pending'", "if false"),
    an_unmatched_recording_is_forgotten_in_time: patch(
        "voice_clone.sweep_recording", "delete from voice_clone.recordings x where x.id = r.id", "null"
    ),
    what_is_kept_goes_with_its_employee_or_its_organization: run(
        "drop trigger voice_clone_remove_voices on public.employees"
    ),
}

# More ways to lose a rule: each is found by the same check.
MUTANTS: dict[str, tuple[Check, Mutant]] = {
    "an employee with two stored recordings": (
        an_older_recording_never_replaces_a_newer_one,
        patch("voice_clone.complete_recording", "= r.employee_id and x.status = 'stored'", "= null"),
    ),
    "two workers of an employee": (
        one_worker_of_an_employee_at_a_time,
        patch("voice_clone.claim_recording", "if o.lease_expires_at > now() then", "if false then"),
    ),
    "a stale worker that renews": (
        a_worker_with_an_older_lease_writes_nothing,
        patch("voice_clone.renew_recording", "and r.lease_epoch = p_epoch", ""),
    ),
    "an epoch that does not grow": (
        a_worker_with_an_older_lease_writes_nothing,
        patch("voice_clone.claim_recording", "= x.lease_epoch + 1", "= x.lease_epoch"),
    ),
    "a recording of another organization": (
        an_admin_sees_and_assigns_what_is_of_their_organization,
        patch("voice_clone.assign_recording", ADMINISTERED, "and true"),
    ),
    "an employee of another organization": (
        an_admin_sees_and_assigns_what_is_of_their_organization,
        patch("voice_clone.assign_recording", "and e.org_id = r.org_id", ""),
    ),
    "a list of every organization": (
        an_admin_sees_and_assigns_what_is_of_their_organization,
        patch(
            "voice_clone.list_recordings",
            "voice_clone.administered_organizations(p_user) administered",
            "public.organizations administered",
        ),
    ),
    "a recording that changes its employee": (
        an_admin_sees_and_assigns_what_is_of_their_organization,
        patch("voice_clone.give_recording", "r.employee_id <> p_employee", "false"),
    ),
    "an outage that is a try": (
        an_outage_uses_up_no_try_and_has_an_end,
        patch("voice_clone.requeue_or_fail_recording", " - (p_is_outage and v_again)::int", ""),
    ),
    "a failed recording that stays": (
        a_failure_is_tried_again_within_the_budget,
        patch("voice_clone.give_recording", "elsif r.status = 'failed' then", "elsif false then"),
    ),
    "an unmatched recording that outlives its organization": (
        what_is_kept_goes_with_its_employee_or_its_organization,
        run("drop trigger voice_clone_forget_unmatched_recordings on public.organizations"),
    ),
}  # fmt: skip


def name_of(rule: Callable[..., object]) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_rule_holds(given: Fixture, rule: Check) -> None:
    rule(given)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_check_fails_without_the_rule(given: Fixture, rule: Check) -> None:
    RULES[rule](given)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception, KeyError)):
        rule(given)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_check_finds_every_other_mutant(given: Fixture, name: str) -> None:
    rule, mutate = MUTANTS[name]
    mutate(given)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception, KeyError)):
        rule(given)
