"""Samples, previews and recordings go after their retention, and what is under a legal hold stays."""

from collections.abc import Callable
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database import test_recordings as recordings
from tests.database.situations import fail, refused, sweep
from tests.database.test_removal import delete, folders, gate, sample_row, set_time
from tests.fixture import Fixture, Row

KINDS = ("sample", "preview", "recording")


def end(given: Fixture, *names: str) -> dict[str, int]:
    for name in names or KINDS:
        set_time(given, name, "0")
    return sweep(given)


def hold(given: Fixture, subject: UUID, reason: str = "a claim") -> Row:
    return given.truth("select * from operations.place_hold(%s, %s)", subject, reason)


def render(given: Fixture, attempt: UUID) -> None:
    epoch = given.step(attempt, "preview")
    sql = "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p', null, null, 0, null)"
    given.one(sql, attempt, epoch)


def release(given: Fixture, subject: UUID) -> bool:
    return given.truth("select operations.release_hold(%s) as done", subject)["done"]


def due(given: Fixture) -> dict[str, tuple[int, int, int]]:
    rows = given.superuser.execute("select * from operations.retention()").fetchall()
    return {row["name"]: (row["kept"], row["due"], row["held"]) for row in rows if row["kept"] is not None}


def removal(given: Fixture, bucket: str) -> UUID:
    return given.truth("select id from voice_clone.object_removals where bucket = %s", bucket)["id"]


def begun(given: Fixture, bucket: str) -> bool:
    row = given.truth(
        "select count(*) as n from voice_clone.begin_object_removal(%s)", removal(given, bucket)
    )
    return row["n"] == 1


def test_a_voice_still_speaks_when_its_sample_and_its_preview_are_gone(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    assert due(given) == {"sample": (1, 0, 0), "preview": (1, 0, 0), "recording": (0, 0, 0)}
    assert sweep(given).keys().isdisjoint({"expired_samples", "expired_previews"})
    done = end(given)
    assert (done["expired_samples"], done["expired_previews"]) == (1, 1)
    sample = sample_row(given, attempt)
    assert (sample["status"], sample["transcript"]) == ("removed", None)
    assert sample["removed_at"] is not None, "the row stays, and says when"
    row = given.attempt(attempt)
    assert (row["preview_path"], row["preview_status"]) == (None, "completed")
    assert gate(given, reflection, user)["launchable"]
    assert folders(given) == {
        ("voice-samples", sample["path"].rpartition("/")[0]), ("voice-previews", f"{user}/{attempt}")
    }  # fmt: skip
    assert end(given).keys().isdisjoint({"expired_samples", "expired_previews"}), "a second time, nothing"
    assert due(given) == dict.fromkeys(KINDS, (0, 0, 0))
    consents = given.truth("select count(*) as n from public.voice_consents where user_id = %s", user)
    assert consents["n"] > 0, "the proof outlives the sample"


def test_what_never_expires_stays(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    for name in KINDS:
        set_time(given, name, None)
    given.superuser.execute("update voice_clone.previews set rendered_at = now() - interval '9 years'")
    assert sweep(given).keys().isdisjoint({"expired_samples", "expired_previews"})
    assert sample_row(given, attempt)["status"] == "ready"


def test_a_sample_that_an_attempt_is_about_to_use_waits_for_its_end(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    assert end(given, "sample").get("expired_samples") is None
    given.enroll(attempt)
    assert sweep(given)["expired_samples"] == 1


LOCKS: dict[str, LiteralString] = {
    "a retry": "select from public.voice_clone_attempts where id = %(attempt)s for no key update",
    "another attempt": "select from public.voice_samples where id = %(sample)s for key share",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_sample_that_another_call_is_about_to_use_is_left(given: Fixture, lock: LiteralString) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    given.enroll(attempt)
    set_time(given, "sample", "0")
    values = {"attempt": attempt, "sample": given.attempt(attempt)["sample_id"]}
    with given.superuser.transaction():
        given.superuser.execute(lock, values)
        assert sweep(given).get("expired_samples") is None
    assert sweep(given)["expired_samples"] == 1


def test_a_failed_attempt_cannot_be_retried_without_its_sample(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    assert end(given, "sample")["expired_samples"] == 1
    with refused("VC007", "sample_missing"):
        given.one("select * from voice_clone.retry_attempt(%s, %s)", reflection, user)
    sample = given.attempt(attempt)["sample_id"]
    with refused("VC004"):
        given.one(
            "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
            uuid4(), user, sample, reflection,
        )  # fmt: skip


def test_a_kept_sample_and_a_failed_one_expire_as_well(given: Fixture) -> None:
    user = given.user()
    kept = given.ready_sample(user)
    broken = given.pending_sample(user)
    given.claim_sample(broken)
    given.superuser.execute(
        "update public.voice_samples set status = 'failed', error_code = 'x', error_message = 'x'"
        " where id = %s",
        (broken,),
    )
    assert end(given, "sample")["expired_samples"] == 2
    assert {given.sample(each)["status"] for each in (kept, broken)} == {"removed"}


def test_a_preview_that_is_rendered_again_starts_anew(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    given.enroll(attempt)
    epoch = given.step(attempt, "runtime")
    given.one("select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", attempt, epoch)
    render(given, attempt)
    given.one("select * from voice_clone.request_preview(%s, %s)", reflection, user)
    assert end(given, "preview").get("expired_previews") is None, "it is on its way"
    set_time(given, "preview", "30 days")
    given.superuser.execute("update voice_clone.previews set rendered_at = now() - interval '40 days'")
    render(given, attempt)
    assert sweep(given).get("expired_previews") is None
    assert end(given, "preview")["expired_previews"] == 1
    given.one("select * from voice_clone.request_preview(%s, %s)", reflection, user)
    assert given.attempt(attempt)["preview_status"] == "required"


def test_a_preview_that_went_with_its_voice_does_not_expire(given: Fixture) -> None:
    user = given.user()
    delete(given, given.launchable(user, given.reflection(user)), user)
    assert end(given, "preview").get("expired_previews") is None


def test_the_recording_of_an_employee_expires(given: Fixture) -> None:
    employee, _ = recordings.employee(given)
    recording = recordings.stored(given, recordings.received(given, employee))
    assert end(given, "recording")["expired_recordings"] == 1
    assert recordings.row(given, recording)["status"] == "superseded"
    assert ("recordings", str(employee)) in folders(given)
    assert sweep(given).get("expired_recordings") is None


def test_under_a_legal_hold_nothing_expires_and_no_file_is_removed(given: Fixture) -> None:
    user, other = given.user(), given.user()
    attempt = given.launchable(user, given.reflection(user))
    given.launchable(other, given.reflection(other))
    placed = hold(given, user)
    assert hold(given, user, "another")["id"] == placed["id"], "the first reason stays"
    done = end(given)
    assert (done["expired_samples"], done["expired_previews"]) == (1, 1), "of the other"
    assert due(given)["sample"] == (1, 0, 1)
    given.superuser.execute("delete from voice_clone.object_removals")
    delete(given, attempt, user)
    assert not begun(given, "voice-samples")
    given.superuser.execute("update voice_clone.object_removals set sweep_at = now()")
    given.superuser.execute("delete from pgmq.q_object_removal")
    assert sweep(given).get("object_removals") is None
    assert given.messages("object_removal") == [], "nobody is asked to remove them"
    assert release(given, user)
    assert not release(given, user), "a second time there is no hold"
    assert sweep(given)["object_removals"] == 2
    assert begun(given, "voice-samples")


def test_an_erasure_under_a_legal_hold_says_what_is_kept(given: Fixture) -> None:
    user = given.user()
    given.launchable(user, given.reflection(user))
    hold(given, user)
    receipt = given.one("select voice_clone.request_erasure(%s) as r", user)["r"]
    held = {place["name"] for place in receipt["places"] if place["is_held"]}
    assert held == {"voice-samples", "voice-previews", "speeches"}
    assert receipt["status"] == "partial"
    release(given, user)
    read = "select operations.erasure(%s) as r"
    receipt = given.truth(read, UUID(receipt["erasure_id"]))["r"]
    assert not any(place["is_held"] for place in receipt["places"])


def test_a_hold_survives_its_person(given: Fixture) -> None:
    user = given.user()
    given.launchable(user, given.reflection(user))
    hold(given, user)
    given.superuser.execute("delete from auth.users where id = %s", (user,))
    assert not begun(given, "voice-samples")
    with refused("VC004"):
        hold(given, uuid4())


def test_the_schedule_is_set_by_name(given: Fixture) -> None:
    def seconds(name: str) -> float | None:
        return given.truth("select seconds from operations.retention() where name = %s", name)["seconds"]

    given.superuser.execute("select operations.set_retention('sample', 3600)")
    assert seconds("sample") == 3600
    given.superuser.execute("select operations.set_retention('sample', null)")
    assert seconds("sample") is None
    with refused("VC004"):
        given.superuser.execute("select operations.set_retention('lost_message', 1)")
    with pytest.raises(psycopg.errors.CheckViolation):
        given.superuser.execute("select operations.set_retention('upload', null)")


def test_a_sample_that_cannot_expire_stops_no_other(given: Fixture) -> None:
    user = given.user()
    broken, good = given.ready_sample(user), given.ready_sample(user)
    given.superuser.execute(
        "create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$"
    )
    given.superuser.execute(
        f"create trigger refuse before update on public.voice_samples for each row"
        f" when (old.id = '{broken}') execute function public.refuse()".encode()
    )
    done = end(given, "sample")
    assert (done["expired_samples"], done["errors"]) == (1, 1)
    assert given.sample(good)["status"] == "removed"


def without_the_lock_of(kind: str) -> Callable[[Fixture], None]:
    return lambda given: test_a_sample_that_another_call_is_about_to_use_is_left(given, LOCKS[kind])


MUTANTS: dict[str, tuple[str, str, str, Callable[[Fixture], None]]] = {
    "a sample that goes before its voice is made": (
        "expire_samples", "a.status in ('awaiting_upload', 'queued', 'processing', 'verifying')", "false",
        test_a_sample_that_an_attempt_is_about_to_use_waits_for_its_end,
    ),
    "a sample that goes beside a retry": (
        "expire_samples", "for no key update skip locked", "", without_the_lock_of("a retry"),
    ),
    "a sample that goes beside its next attempt": (
        "expire_samples", "for update skip locked", "for no key update skip locked",
        without_the_lock_of("another attempt"),
    ),
    "a retry without a sample": (
        "require_retry", "s.status = 'removed'", "false",
        test_a_failed_attempt_cannot_be_retried_without_its_sample,
    ),
    "a preview that goes while another is made": (
        "expire_previews", "a.preview_status in ('required', 'rendering')", "false",
        test_a_preview_that_is_rendered_again_starts_anew,
    ),
    "a preview that goes with the first one": (
        "mark_preview", "do update set rendered_at = excluded.rendered_at", "do nothing",
        test_a_preview_that_is_rendered_again_starts_anew,
    ),
    "a held sample that expires": (
        "expire_samples", "not voice_clone.is_held(coalesce(s.user_id, s.employee_id))", "true",
        test_under_a_legal_hold_nothing_expires_and_no_file_is_removed,
    ),
    "a held preview that expires": (
        "expire_previews", "not voice_clone.is_held(coalesce(x.user_id, x.employee_id))", "true",
        test_under_a_legal_hold_nothing_expires_and_no_file_is_removed,
    ),
    "a held file that is removed": (
        "begin_object_removal", "voice_clone.is_folder_held(r.folder)", "false",
        test_a_hold_survives_its_person,
    ),
    "a removal that is asked for under a hold": (
        "sweep_object_removals", "if voice_clone.is_folder_held(r.folder) then", "if false then",
        test_under_a_legal_hold_nothing_expires_and_no_file_is_removed,
    ),
    "a sample that stops the others": (
        "expire_samples", "perform voice_clone.postpone_row", "raise; perform voice_clone.postpone_row",
        test_a_sample_that_cannot_expire_stops_no_other,
    ),
}  # fmt: skip


@pytest.mark.one_postgres
@pytest.mark.parametrize("name", MUTANTS)
def test_a_lost_rule_is_found(given: Fixture, name: str) -> None:
    function, old, new, test = MUTANTS[name]
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises((AssertionError, KeyError, psycopg.Error, pytest.fail.Exception)):
        test(given)
