"""Every operation on a voice as one SQL statement, and the situations in which two of them may meet."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from msgspec import Struct

from tests.database.situations import fail, fail_step
from tests.fixture import Fixture

Situation = dict[str, Any]  # the parameters of the operations


class Operation(Struct, frozen=True):
    """`role`: who runs it; the application's own statements are not the service's."""

    name: str
    sql: str
    states: tuple[str, ...] = ()  # of the newest attempt, in which it changes something; all where empty
    role: str = "voice_clone_service"


def call(function: str, arguments: str, *states: str, name: str | None = None) -> Operation:
    sql = f"select * from voice_clone.{function}({arguments})"  # noqa: S608 - our own text
    return Operation(name or function, sql, states)


def host(name: str, sql: str, role: str = "postgres") -> Operation:
    return Operation(name, sql, role=role)


LEASE = "%(active)s, %(epoch)s"
ENROLLED = (
    f"{LEASE}, %(enrollment)s, 'made-' || gen_random_uuid(), 'model-1', 'request-1', '{{}}'::jsonb, null"
)
OWNER = "%(reflection)s, %(user)s"
POLL = f"{LEASE}, 0"
SPEECH = "'Hello.', 'Ada'"
SAMPLE = "%(processing)s, %(sample_epoch)s"

OPERATIONS = [
    # the owner's
    call("sign_consent", "%(user)s, 'voice_clone', 'en', 'reflection', %(reflection)s, 1"),
    call("revoke_consent", "%(consent)s, %(user)s"),
    call(
        "open_attempt",
        "gen_random_uuid(), %(user)s, %(consent)s, %(reflection)s, 'local', '',"
        " 'sample/' || gen_random_uuid(), 'audio/wav', 1000, true",
    ),
    call("claim_upload", "%(opened)s, %(user)s, 'other'"),
    call("queue_attempt", "%(prepared)s, %(user)s, 'Ada', 'en', 'hello', 0"),
    call("check_sample", "%(user)s, %(consent)s, 10, 100"),
    call(
        "add_sample",
        "gen_random_uuid(), %(user)s, %(consent)s, %(reflection)s, true, 'Ada', 'en', 'hello',"
        " 'sample/' || gen_random_uuid(), 'audio/wav', 1000, 10, 100",
    ),
    call("receive_sample", "%(sent)s, %(user)s"),
    call("delete_sample", "%(unused)s, %(user)s"),
    call("delete_sample", "%(active_sample)s, %(user)s", "failed", name="delete_used_sample"),
    call(
        "clone_sample",
        "gen_random_uuid(), %(user)s, %(sample)s, %(reflection)s, 'local', '', true, 'Ada'",
    ),
    call(
        "use_custom_voice",
        "gen_random_uuid(), %(user)s, %(reflection)s, 'local', '', %(kept_provider_voice)s, null,"
        " 'model-1', 'Ada', 'en', true",
    ),
    call("retry_attempt", OWNER, "failed", "unsynced"),
    call(
        "retry_elsewhere",
        "gen_random_uuid(), %(reflection)s, %(user)s, %(active)s, 'elsewhere', '', true",
    ),
    call(
        "move_voice",
        "gen_random_uuid(), %(active_voice)s, %(user)s, 'elsewhere', '', '{there}', true, true",
        "launched",
    ),
    call(
        "move_voice",
        "gen_random_uuid(), %(kept_voice)s, %(user)s, 'elsewhere', '', '{there}', false, true",
        name="move_kept_voice",
    ),
    call("reset_attempt", OWNER),
    call("restore_attempt", OWNER, "failed", "unsynced"),
    call("request_preview", OWNER, "launched"),
    call("complete_preview", OWNER, "launched"),
    call("start_session", OWNER, "launched"),
    call("launch_gate", OWNER),
    call("reflection_voice", OWNER),
    call("delete_voice", "%(active_voice)s, %(user)s", "launched"),
    call("delete_voice", "%(kept_voice)s, %(user)s", "failed", name="delete_kept_voice"),
    call("request_speech", f"gen_random_uuid(), %(user)s, %(sample)s, 'local', '', {SPEECH}"),
    call(
        "request_speech",
        f"gen_random_uuid(), %(user)s, %(sample)s, 'elsewhere', '', {SPEECH}",
        name="request_speech_elsewhere",
    ),
    call("retry_speech", "%(failed_job)s, %(user)s, 'Ada'"),
    call("delete_speech_job", "%(waiting_job)s, %(user)s"),
    call("receive_legacy_event", "'conversation_ended', %(event)s, %(reflection)s, %(payload)s::jsonb"),
    call(
        "accept_legacy_event",
        "%(legacy_event)s, %(unused)s, 'local', '', 'Ada', true",
    ),
    # the application's
    host("delete reflection", "delete from public.reflections where id = %(reflection)s"),
    host("rename reflection", "update public.reflections set name = 'S' where id = %(reflection)s"),
    host(
        "give reflection away",
        "update public.reflections set user_id = %(other_user)s where id = %(reflection)s",
    ),
    call("request_erasure", "%(user)s"),
    host("delete user", "delete from auth.users where id = %(user)s", "supabase_auth_admin"),
    # a worker's, of a sample
    call("claim_sample", "%(pending)s, 'other', 2"),
    call("claim_sample", "%(lost)s, 'other', 2", name="claim_lost_sample"),
    call("renew_sample", SAMPLE),
    call(
        "complete_sample",
        f"{SAMPLE}, 'audio/wav', 1000, '{{}}'::jsonb, 'prepared/' || gen_random_uuid(), 2000",
    ),
    call("refuse_sample", f"{SAMPLE}, 'sample_silent', 'No.', null"),
    call("requeue_sample", f"{SAMPLE}, 0, 'storage_unavailable', 'Later.', 'outage'"),
    # a worker's
    call("claim_attempt", "%(active)s, 'other', 60, 4, true", "queued", "lost"),
    call("renew_lease", f"{LEASE}, 60", "processing", "syncing"),
    call("requeue_attempt", f"{LEASE}, 0, 'throttled', 'Later.', null", "processing"),
    call("fail_attempt", f"{LEASE}, 'refused', 'No.', null, null", "processing"),
    call("intend_enrollment", f"{LEASE}, left(replace(gen_random_uuid()::text, '-', ''), 16), 'match', 60"),
    call("resolve_enrollment", "%(enrollment)s, %(epoch)s, 'unknown', 'timeout', null, 60", "processing"),
    call(
        "report_enrollment",
        "%(enrollment)s, 'late-' || gen_random_uuid(), 'model-1', false, null, '{}'::jsonb",
        "processing",
    ),
    call("attach_voice", f"{ENROLLED}, true", "processing"),
    call("await_verification", ENROLLED, "processing"),
    call("complete_verification", f"{POLL}, null", "verifying"),
    call("reject_verification", f"{POLL}, 'refused', 'No.', null", "verifying"),
    call("postpone_verification", f"{POLL}, 0, null", "verifying"),
    call("record_verification", "%(active)s, true, null, null, null", "verifying"),
    call("attach_custom_voice", f"{LEASE}, null, null, true", "custom"),
    call("claim_step", "%(active)s, 'runtime', 'other', 60", "ready", "lost_sync", name="claim_runtime"),
    call("claim_step", "%(active)s, 'preview', 'other', 60", "synced", "lost_preview", name="claim_preview"),
    call("mark_runtime", f"{LEASE}, 'synced', null, null, 0, null", "syncing"),
    call("mark_preview", f"{LEASE}, 'rendered', 'p.wav', null, null, 0, null", "rendering"),
    call("claim_speech_job", "%(waiting_job)s, 'other', 60, 4"),
    call("renew_speech_lease", "%(speaking_job)s, 1, 60"),
    call("complete_speech", "%(speaking_job)s, 1, 'p.wav', 1000, null"),
    call("fail_speech", "%(speaking_job)s, 1, 'inference_failed', 'No.', null, null"),
    call("requeue_speech", "%(speaking_job)s, 1, 0, 'throttled', 'Later.', null, null, true"),
    # the recovery's
    call("sweep", "100"),
    call("begin_cleanup", "%(enrollment)s"),
    call("end_cleanup", "%(enrollment)s, 'orphaned', 'found-' || gen_random_uuid(), 'model-1', null"),
    # the operator's
    host("withdraw voices", "select operations.withdraw_voices('user', %(user)s)"),
    call("mirror_reflections", "array[%(reflection)s, %(other_reflection)s]::uuid[]"),
]


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
    user = given.user()
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
        "other_user": given.user(),
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
