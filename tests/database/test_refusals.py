"""What the database refuses by itself: edges, columns that never change, and calls about what is not there.

Each case is a guard that no other test meets; `tests/database/guards` takes each away.
"""

from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database import test_recordings as recordings
from tests.database.situations import copy, fail, refused
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture

SPEAK = "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'A')"
# Columns of an attempt, a sample and a speech job that only their function changes, and once.
OF_ATTEMPTS = (
    "lease_epoch = lease_epoch - 1", "voice_id = gen_random_uuid()", "source = 'custom_voice'",
    "provider_voice_id = 'another'", "reflection_id = %(other_reflection)s", "user_id = %(other)s",
    "org_id = %(org)s",
)  # fmt: skip
OF_SAMPLES = (
    "user_id = %(other)s", "path = 'x'", """measures = '{"changed": true}'""",
    "lease_epoch = lease_epoch - 1",
)  # fmt: skip


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


def scene(given: Fixture, acme: Staffed) -> dict[str, UUID]:
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    return {
        "attempt": given.launchable(user, reflection),
        "user": user,
        "other": other,
        "reflection": reflection,
        "other_reflection": given.reflection(user),
        "org": acme.id,
        "employee": acme.employee,
    }


def refuse_change(
    given: Fixture, table: LiteralString, change: LiteralString, about: dict[str, UUID]
) -> None:
    with refused("VC001"):
        given.superuser.execute(f"update {table} set {change} where id = %(id)s", about)  # noqa: S608


@pytest.mark.parametrize("change", OF_ATTEMPTS)
def test_what_an_attempt_is_never_changes(given: Fixture, acme: Staffed, change: LiteralString) -> None:
    about = scene(given, acme)
    refuse_change(given, "public.voice_clone_attempts", change, about | {"id": about["attempt"]})


def test_an_attempt_of_an_employee_keeps_its_employee(given: Fixture, acme: Staffed) -> None:
    attempt, colleague = acme.queued(), given.employee(acme.id)
    refuse_change(
        given, "public.voice_clone_attempts", "employee_id = %(colleague)s",
        {"colleague": colleague, "id": attempt},
    )  # fmt: skip
    refuse_change(
        given, "public.voice_samples", "employee_id = %(colleague)s",
        {"colleague": colleague, "id": given.attempt(attempt)["sample_id"]},
    )  # fmt: skip


def test_what_was_erased_gets_no_user_again(given: Fixture) -> None:
    user, other = given.user(), given.user()
    attempt = given.queued(user, None)
    sample, job = given.attempt(attempt)["sample_id"], uuid4()
    given.enroll(attempt)
    given.one(SPEAK, job, user, sample)
    given.superuser.execute("delete from auth.users where id = %s", (user,))
    tables: list[tuple[LiteralString, UUID]] = [
        ("public.voice_clone_attempts", attempt),
        ("public.voice_samples", sample),
        ("public.speech_jobs", job),
    ]  # fmt: skip
    for table, id_ in tables:
        refuse_change(given, table, "user_id = %(other)s", {"other": other, "id": id_})
    with refused("VC001"):
        given.superuser.execute("update public.speech_jobs set removed_at = null where id = %s", (job,))


@pytest.mark.parametrize("change", OF_SAMPLES)
def test_what_a_sample_is_never_changes(given: Fixture, acme: Staffed, change: LiteralString) -> None:
    about = scene(given, acme)
    about["id"] = given.attempt(about["attempt"])["sample_id"]
    refuse_change(given, "public.voice_samples", change, about)


@pytest.mark.parametrize(
    "change",
    ["runtime_status = 'syncing'", "preview_status = 'rendering'", "status = 'verifying'"],
)
def test_a_launched_attempt_takes_only_the_edges(
    given: Fixture, acme: Staffed, change: LiteralString
) -> None:
    about = scene(given, acme)
    refuse_change(given, "public.voice_clone_attempts", change, about | {"id": about["attempt"]})


def test_a_lost_voice_fails_in_one_way(given: Fixture) -> None:
    """Without a voice that is lost, ready stays ready; with one, its steps begin again."""
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    lost = "status = 'failed', error_code = 'voice_lost', error_message = 'x', lease_epoch = lease_epoch + 1"
    steps = "runtime_status = 'pending', preview_status = 'required'"
    change = "update public.voice_clone_attempts set {} where id = %s"
    with refused("VC001"):
        given.superuser.execute(change.format(f"{lost}, {steps}").encode(), (attempt,))
    given.superuser.execute(
        "update public.voices set lost_at = now(), enrollment_id = null where attempt_id = %s", (attempt,)
    )
    for without in ("runtime_status = 'pending'", "preview_status = 'required'"):
        with refused("VC001"):
            given.superuser.execute(change.format(f"{lost}, {without}").encode(), (attempt,))
    with refused("VC001"):
        given.superuser.execute(change.format(steps).encode(), (attempt,))


def test_nothing_is_inserted_in_the_middle_of_its_life(given: Fixture, acme: Staffed) -> None:
    about = scene(given, acme)
    attempt, user = about["attempt"], about["user"]
    sample, job = given.attempt(attempt)["sample_id"], uuid4()
    given.one(SPEAK, job, user, sample)
    with refused("VC001"):
        copy(given, "public.voice_clone_attempts", attempt, is_active=False, voice_id=uuid4())
    with refused("VC001"):
        given.superuser.execute(
            "insert into public.voice_samples (id, user_id, consent_id, path, content_type, bytes, status)"
            " select gen_random_uuid(), s.user_id, s.consent_id, 'x', s.content_type, s.bytes, 'failed'"
            " from public.voice_samples s where s.id = %s", (sample,),
        )  # fmt: skip
    with refused("VC001"):
        copy(given, "public.speech_jobs", job, status="failed", error_code="x", error_message="x")
    with refused("VC001"):
        given.superuser.execute(
            "insert into voice_clone.enrollments"
            " (attempt_id, lease_epoch, provider, label, status, settles_at)"
            " values (%s, 1, 'local', 'label', 'removed', now())", (attempt,),
        )  # fmt: skip
    with refused("VC001"):
        given.superuser.execute(
            "insert into voice_clone.recordings (recording_sid, org_id, employee_id, recorded_at, status)"
            " values (%s, %s, %s, now(), 'superseded')", (recordings.sid("RE"), acme.id, acme.employee),
        )  # fmt: skip


def test_an_enrollment_keeps_the_voice_that_it_made(given: Fixture, acme: Staffed) -> None:
    about = scene(given, acme)
    with refused("VC001"):
        given.superuser.execute(
            "update voice_clone.enrollments set provider_voice_id = 'another' where attempt_id = %s",
            (about["attempt"],),
        )


def test_a_recording_takes_only_the_edges(given: Fixture) -> None:
    of, _ = recordings.employee(given)
    recording = recordings.received(given, of)
    with refused("VC001"):
        given.superuser.execute(
            "update voice_clone.recordings set status = 'stored' where id = %s", (recording,)
        )


QUEUE_CALLS = (
    "select * from voice_clone.acknowledge_messages('no_queue', '{1}')",
    "select voice_clone.postpone_messages('no_queue', '{1}', '{0}')",
    "select * from voice_clone.read_messages('no_queue', 1, 1)",
    "select * from voice_clone.send_messages('no_queue', array['{}'::jsonb], 0)",
    "select * from operations.dead_letters('no_queue')",
)


@pytest.mark.parametrize("call", QUEUE_CALLS)
def test_a_queue_that_is_not_there_is_named(given: Fixture, call: LiteralString) -> None:
    with refused("VC006"):
        given.superuser.execute(call)


def test_an_attempt_that_is_queued_awaits_no_upload(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    with refused("VC001"):
        given.one("select * from voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)", attempt, user)
    with refused("VC001"):
        given.claim_upload(attempt, user)


def test_an_upload_without_its_sample_or_its_consent_is_not_inspected(given: Fixture) -> None:
    user = given.user()
    gone, uncovered = given.open(user, None), given.open(user, None)
    given.superuser.execute(
        "update public.voice_samples set status = 'removed' where id = %s",
        (given.attempt(gone)["sample_id"],),
    )
    with refused("VC001"):
        given.claim_upload(gone, user)
    with given.superuser.transaction():  # as a revocation that has not cancelled the attempt yet
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_consents set user_id = %s where id = (select s.consent_id"
            " from public.voice_samples s where s.id = %s)",
            (given.user(), given.attempt(uncovered)["sample_id"]),
        )
    with refused("VC003"):
        given.claim_upload(uncovered, user)


def test_a_sample_receives_its_file_once_and_only_where_it_waits_for_one(given: Fixture) -> None:
    user = given.user()
    receive = "select voice_clone.receive_sample(%s, %s) as status"
    removed = given.add_sample(user)
    given.one("select voice_clone.delete_sample(%s, %s)", removed, user)
    of_an_upload = given.attempt(given.open(user, None))["sample_id"]
    for sample in (removed, of_an_upload):
        with refused("VC001"):
            given.one(receive, sample, user)


def test_a_sample_is_checked_against_the_limits_when_it_is_added(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    add = (
        "select * from voice_clone.add_sample(gen_random_uuid(), %s, %s, null, true, 'Ada', 'en', 'hello',"
        " %s, 'audio/wav', 1000, 1, 100)"
    )
    given.one(add, user, consent, f"{user}/{uuid4()}/sample.wav")
    with refused("VC008"):
        given.one(add, user, consent, f"{user}/{uuid4()}/sample.wav")


def test_a_step_that_is_not_there_is_not_claimed(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    with refused("VC006"):
        given.one("select * from voice_clone.claim_step(%s, 'dance', 'worker', 60)", attempt)


def test_an_attempt_with_a_sample_takes_no_custom_voice(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    with refused("VC001"):
        given.one("select * from voice_clone.attach_custom_voice(%s, %s, null, null, false)", attempt, epoch)


def test_an_enrollment_is_of_its_attempt_and_is_resolved_by_its_worker(given: Fixture) -> None:
    attempt, other = given.queued(given.user(), None), given.queued(given.user(), None)
    epoch = given.claim(attempt, lease=0)["lease_epoch"]
    enrollment = given.intend(attempt, epoch, settle=0)
    with refused("VC004"):
        given.attach(other, given.claim(other)["lease_epoch"], enrollment)
    resolve = "select voice_clone.resolve_enrollment(%s, %s, 'unknown', 'timeout', null, 60)"
    with refused("VC004"):
        given.one(resolve, uuid4(), epoch)
    given.claim(attempt)
    with refused("VC002"):
        given.one(resolve, enrollment, epoch)


def test_calls_about_what_is_not_there_say_so(given: Fixture) -> None:
    user = given.user()
    sample = given.ready_sample(user)
    with refused("VC004"):
        given.one("select voice_clone.record_verification(%s, false, null, null, null)", uuid4())
    with pytest.raises(psycopg.Error) as caught:
        given.one(SPEAK, uuid4(), given.user(), sample,
        )  # fmt: skip
    assert (caught.value.sqlstate, caught.value.diag.message_detail) == ("VC004", '{"field": "sampleId"}')
    with refused("VC004"):
        given.one("select * from voice_clone.retry_speech(%s, %s, 'Ada')", uuid4(), user)
    with refused("VC004"):
        given.one(
            "select * from voice_clone.use_custom_voice"
            "(%s, %s, %s, 'local', '', 'stock', null, 'model-1', 'Ada', 'en', true)",
            uuid4(), user, uuid4(),
        )  # fmt: skip
    with refused("VC006"):
        given.superuser.execute("select * from operations.held('stranger', %s)", (user,))


def test_a_retry_needs_a_failure_a_place_and_a_consent(given: Fixture) -> None:
    user = given.user()
    attempt, jobs = given.queued(user, None), [uuid4() for _ in range(21)]
    given.enroll(attempt)
    sample = given.attempt(attempt)["sample_id"]
    given.one(SPEAK, jobs[0], user, sample)
    retry = "select * from voice_clone.retry_speech(%s, %s, 'Ada')"
    with refused("VC007", "nothing_to_retry"):
        given.one(retry, jobs[0], user)
    given.one("select * from voice_clone.claim_speech_job(%s, 'worker', 60, 4)", jobs[0])
    given.one("select voice_clone.fail_speech(%s, 1, 'inference_failed', 'No.', null, null)", jobs[0])
    for job in jobs[1:]:
        given.one(SPEAK, job, user, sample)
    with refused("VC008", "too_many_speech_jobs"):
        given.one(retry, jobs[0], user)


def test_a_voice_whose_consent_is_revoked_is_not_tried_elsewhere(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.consents[user] = given.consent(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    elsewhere = "select * from voice_clone.retry_elsewhere(%s, %s, %s, %s, 'elsewhere', '', true)"
    with given.superuser.transaction():  # as a revocation that has not cancelled the attempt yet
        given.superuser.execute("set local session_replication_role = replica")
        consent = given.truth("select * from public.voice_consents where id = %s", given.consents[user])
        copy(
            given, "public.voice_consents", consent["id"], revokes=consent["id"],
            position=consent["position"] + 1,
        )  # fmt: skip
    with refused("VC003"):
        given.one(elsewhere, uuid4(), reflection, user, attempt)
