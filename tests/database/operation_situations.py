"""The situations in which two operations may meet."""

from collections.abc import Callable
from uuid import UUID, uuid4

from tests.database.operation import Situation
from tests.database.service_operations import service_situation
from tests.database.situations import fail, fail_step
from tests.fixture import Fixture


def queued(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    return given.queued(user, reflection)


def processing(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = given.queued(user, reflection)
    given.intend(attempt, given.claim(attempt)["lease_epoch"])
    return attempt


def claimed(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = given.queued(user, reflection)
    given.claim(attempt)
    return attempt


def verifying(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.await_verification"
        "(%s, %s, %s, %s, 'model-1', 'request-1', '{}'::jsonb, null)",
        attempt, epoch, given.intend(attempt, epoch), f"voice-{attempt}",
    )  # fmt: skip
    return attempt


def ready(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = given.queued(user, reflection)
    given.enroll(attempt)
    return attempt


def syncing(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = ready(given, user, reflection)
    given.step(attempt, "runtime")
    return attempt


def synced(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = syncing(given, user, reflection)
    given.one(
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
        attempt, given.attempt(attempt)["lease_epoch"],
    )  # fmt: skip
    return attempt


def rendering(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = synced(given, user, reflection)
    given.step(attempt, "preview")
    return attempt


def lost(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    return lose_lease(given, processing(given, user, reflection))


def lost_sync(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    return lose_lease(given, syncing(given, user, reflection))


def lost_preview(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    return lose_lease(given, rendering(given, user, reflection))


def lose_lease(given: Fixture, attempt: UUID) -> UUID:
    """The worker stopped, and its lease has run out."""
    given.superuser.execute(
        "update voice_clone.deadlines set lease_expires_at = now() - interval '1 second'"
        " where attempt_id = %s",
        (attempt,),
    )
    return attempt


def failed(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    return attempt


def unsynced(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = ready(given, user, reflection)
    fail_step(given, attempt, "runtime")
    return attempt


def launched(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    return given.launchable(user, reflection)


def custom(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    attempt = uuid4()
    given.one(
        "select * from voice_clone.use_custom_voice"
        "(%s, %s, %s, 'local', '', %s, null, 'model-1', 'Ada', 'en', true)",
        attempt, user, reflection, f"stock-{attempt}",
    )  # fmt: skip
    given.claim(attempt)
    return attempt


def silent(given: Fixture, user: UUID, reflection: UUID) -> UUID:
    """Reset: no attempt is active."""
    attempt = given.launchable(user, reflection)
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)
    return attempt


STATES: dict[str, Callable[[Fixture, UUID, UUID], UUID]] = {
    each.__name__: each
    for each in (
        queued, claimed, processing, verifying, ready, syncing, synced, rendering, failed, unsynced, launched,
        custom, silent, lost, lost_sync, lost_preview,
    )
}  # fmt: skip


def situation(given: Fixture, state: Callable[[Fixture, UUID, UUID], UUID]) -> Situation:
    """One user, whose consent covers two reflections.

    The first has a kept voice, the newest attempt in the given state, and an open upload; the other one a
    launched voice. Every deadline is due.
    """
    user, other_user = given.user(), given.user()
    reflection, other = given.reflection(user), given.reflection(user)
    given.consents[user] = given.consent(user)
    kept = given.launchable(user, reflection)
    active = state(given, user, reflection)
    given.launchable(user, other)
    row = given.attempt(active)
    event = f"event-{uuid4()}"
    legacy = given.one(
        "select * from voice_clone.receive_legacy_event('conversation_ended', %s, %s, %s::jsonb)",
        event, reflection, '{"recording": {}}',
    )  # fmt: skip
    made = {
        "user": user,
        **speech_jobs(given, user, given.attempt(kept)["sample_id"]),
        "other_user": other_user,
        "reflection": reflection,
        "other_reflection": other,
        "consent": given.consents[user],
        "opened": given.open(user, reflection),
        **samples(given, user, reflection),
        "active_sample": row["sample_id"],
        "sample": given.attempt(kept)["sample_id"],
        "active": active,
        "epoch": row["lease_epoch"],
        "active_voice": row["voice_id"],
        "kept_voice": given.attempt(kept)["voice_id"],
        "kept_provider_voice": given.attempt(kept)["provider_voice_id"],
        "enrollment": enrollment_of(given, active) or enrollment_of(given, kept),
        "event": f"other-{event}",
        "legacy_event": legacy["id"],
        "payload": '{"recording": {}}',
        **service_situation(given, user, other_user, kept),
    }
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now() - interval '1 second'")
    given.superuser.execute("update voice_clone.enrollments set sweep_at = now() - interval '1 second'")
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute("update public.speech_jobs set sweep_at = now() - interval '1 second'")
    given.superuser.execute(
        "update public.voice_samples set sweep_at = now() - interval '1 second' where sweep_at is not null"
    )
    return made


def samples(given: Fixture, user: UUID, reflection: UUID) -> Situation:
    """Of each status, by themselves; and an upload whose attempt can be queued."""
    prepared = given.open(user, reflection)
    given.prepare(prepared, user)
    processing, lost = given.pending_sample(user), given.pending_sample(user)
    epoch = given.claim_sample(processing)["lease_epoch"]
    given.claim_sample(lost)
    given.superuser.execute(
        "update public.voice_samples set lease_expires_at = now() - interval '1 second' where id = %s",
        (lost,),
    )
    return {
        "prepared": prepared,
        "sent": given.add_sample(user),
        "unused": given.ready_sample(user),
        "pending": given.pending_sample(user),
        "processing": processing,
        "sample_epoch": epoch,
        "lost": lost,
    }


def speech_jobs(given: Fixture, user: UUID, sample: UUID) -> dict[str, UUID]:
    """One that waits, one that a worker speaks, one that failed: with the kept voice."""
    jobs = {name: uuid4() for name in ("waiting_job", "speaking_job", "failed_job")}
    for name, job in jobs.items():
        request = "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'Ada')"
        given.one(request, job, user, sample)
        if name != "waiting_job":
            given.one("select * from voice_clone.claim_speech_job(%s, 'worker', 60, 4)", job)
    given.one(
        "select voice_clone.fail_speech(%s, 1, 'inference_failed', 'No.', null, null)", jobs["failed_job"]
    )
    return jobs


def enrollment_of(given: Fixture, attempt: UUID) -> UUID | None:
    row = given.superuser.execute(
        "select id from voice_clone.enrollments where attempt_id = %s order by created_at desc", (attempt,)
    ).fetchone()
    return row["id"] if row else None
