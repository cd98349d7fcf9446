"""Calls with an owner's objects, by the owner and by a stranger who has objects of the same kinds.

Each function with a parameter p_user that the service may execute has a line for each object that it takes.
In the arguments, `user` is the caller, a name is an object of the owner's, and `my_…` is the caller's own.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import tuple_row

from tests.database.situations import fail, superseded
from tests.fixture import Fixture

PLACE = "tests/database/access/calls.py"
Connection = psycopg.Connection[Any]
UPLOAD = "'local', '', gen_random_uuid()::text, 'audio/wav', 1000, true"
CLONE = "'local', '', true, 'Ada'"
CUSTOM = "'Ada', 'en', true"
REQUEST = "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'Ada')"
OLD_SECRET = "'whsec_" + "B" * 43 + "='"
SECRET = "'whsec_" + "A" * 43 + "='"
LAST_EVENT = "select max(id) as id from voice_clone.events where attempt_id = %s"
CHALLENGE = "select * from voice_clone.open_challenge(%s, 'en', 1, 'Say this.')"
PROOF = "'{}'::jsonb"
ADD = "null, true, 'Ada', 'en', 'hello', gen_random_uuid()::text, 'audio/wav', 1000"

# (function, arguments, what the owner gets, what the stranger gets): rows, nothing, a flag, an SQLSTATE
CALLS: list[tuple[str, str, str, str]] = [
    ("public.voice_launch_gate", "%(reflection)s", "rows", "nothing"),
    ("voice_clone.attempt_events", "%(attempt)s, %(user)s, 0", "rows", "nothing"),
    ("voice_clone.attempt_events", "%(employees_attempt)s, %(user)s, 0", "rows", "nothing"),
    ("voice_clone.add_sample", f"gen_random_uuid(), %(user)s, %(consent)s, {ADD}", "rows", "VC003"),
    ("voice_clone.add_sample", f"gen_random_uuid(), %(user)s, %(bound_consent)s, {ADD}", "rows", "VC003"),
    ("voice_clone.add_sample", f"%(sent)s, %(user)s, %(my_consent)s, {ADD}", "rows", "23505"),
    ("voice_clone.add_sample",  # so many that only another user's samples would be too many
     f"gen_random_uuid(), %(user)s, %(my_consent)s, {ADD}, 5", "rows", "other rows"),
    ("voice_clone.add_sample",
     f"gen_random_uuid(), %(user)s, %(my_consent)s, {ADD}, null, 5", "rows", "other rows"),
    ("voice_clone.assign_recording", "%(recording)s, %(employee)s, %(user)s", "rows", "VC004"),
    ("voice_clone.assign_recording", "%(my_recording)s, %(employee)s, %(user)s", "rows", "VC004"),
    ("voice_clone.assign_recording", "%(recording)s, %(my_employee)s, %(user)s", "rows", "VC004"),
    ("voice_clone.check_sample", "%(user)s, %(consent)s, 5, 5", "rows", "VC003"),
    ("voice_clone.claim_upload", "%(upload)s, %(user)s, 'w'", "rows", "VC004"),
    ("voice_clone.check_opening",
     "%(user)s, %(my_consent)s, %(reflection)s, 1000, 'local', ''", "rows", "VC004"),
    ("voice_clone.claim_idempotency_key", "%(user)s, 'pending', ''", "VC007", "rows"),
    ("voice_clone.claim_idempotency_key", "%(user)s, 'answered', ''", "rows", "other rows"),
    ("voice_clone.clone_sample",
     f"gen_random_uuid(), %(user)s, %(sample)s, %(my_reflection)s, {CLONE}", "rows", "VC004"),
    ("voice_clone.clone_sample",
     f"gen_random_uuid(), %(user)s, %(my_sample)s, %(reflection)s, {CLONE}", "rows", "VC004"),
    ("voice_clone.complete_preview", "%(unheard)s, %(user)s", "rows", "VC004"),
    ("voice_clone.consent_for", "%(user)s, %(reflection)s", "rows", "other rows"),
    ("voice_clone.delete_speech_job", "%(job)s, %(user)s", "True", "False"),
    ("voice_clone.delete_sample", "%(sent)s, %(user)s", "True", "False"),
    ("voice_clone.delete_voice", "%(voice)s, %(user)s", "True", "False"),
    ("voice_clone.note_speech_of", "%(voice)s, %(user)s", "True", "False"),
    ("voice_clone.delete_webhook", "%(webhook)s, %(user)s", "True", "False"),
    ("voice_clone.create_webhook",
     "gen_random_uuid(), %(user)s, 'https://example.org', " + SECRET, "rows", "other rows"),
    ("voice_clone.create_webhook", "%(webhook)s, %(user)s, 'u', " + SECRET, "rows", "23505"),
    ("voice_clone.create_webhook",
     "gen_random_uuid(), %(user)s, 'https://example.org', " + SECRET + ", %(organization)s", "rows", "VC004"),
    ("voice_clone.delete_webhook", "%(organizations)s, %(user)s", "True", "False"),
    ("voice_clone.enable_webhook", "%(organizations)s, %(user)s", "rows", "VC004"),
    ("voice_clone.rotate_webhook_secret", "%(organizations)s, %(user)s, " + SECRET, "rows", "VC004"),
    ("voice_clone.replay_event", "%(organizations)s, %(user)s, %(employees_event)s", "rows", "VC004"),
    ("voice_clone.replay_event", "%(my_organizations)s, %(user)s, %(employees_event)s", "VC004", "VC004"),
    ("voice_clone.replay_event", "%(my_webhook)s, %(user)s, %(employees_event)s", "VC004", "VC004"),
    ("voice_clone.retry_employee_attempt", "%(consenting)s, %(user)s", "VC007", "VC004"),
    ("voice_clone.retry_employee_attempt", "%(consenting)s, %(member)s", "VC009", "VC009"),
    ("voice_clone.reset_employee_attempt", "%(consenting)s, %(user)s", "rows", "VC004"),
    ("voice_clone.reset_employee_attempt", "%(consenting)s, %(member)s", "VC009", "VC009"),
    ("voice_clone.retry_employee_elsewhere",
     "gen_random_uuid(), %(consenting)s, %(user)s, %(employees_attempt)s, 'qwen', '', true",
     "VC007", "VC004"),
    ("voice_clone.retry_employee_elsewhere",
     "gen_random_uuid(), %(consenting)s, %(member)s, %(employees_attempt)s, 'qwen', '', true",
     "VC009", "VC009"),
    ("voice_clone.move_employee_voice",
     "gen_random_uuid(), %(consenting)s, %(user)s, 'modal', '', '{here}', true, true", "rows", "VC004"),
    ("voice_clone.move_employee_voice",
     "gen_random_uuid(), %(consenting)s, %(member)s, 'modal', '', '{here}', true, true", "VC009", "VC009"),
    ("voice_clone.restore_employee_attempt", "%(consenting)s, %(user)s", "VC007", "VC004"),
    ("voice_clone.restore_employee_attempt", "%(consenting)s, %(member)s", "VC009", "VC009"),
    ("voice_clone.sample_of_employee", "%(consenting)s, %(user)s", "rows", "VC004"),
    ("voice_clone.sample_of_employee", "%(consenting)s, %(member)s", "VC009", "VC009"),
    ("voice_clone.note_speech_of", "%(employees_voice)s, %(user)s", "True", "False"),
    ("voice_clone.note_speech_of", "%(employees_voice)s, %(member)s", "False", "False"),
    ("voice_clone.delete_voice", "%(employees_voice)s, %(user)s", "True", "False"),
    ("voice_clone.delete_voice", "%(employees_voice)s, %(member)s", "False", "False"),
    ("voice_clone.require_admin", "%(organization)s, %(user)s", "rows", "VC004"),
    ("voice_clone.require_admin", "%(organization)s, %(member)s", "VC009", "VC009"),
    ("voice_clone.create_webhook",
     "gen_random_uuid(), %(member)s, 'u', " + SECRET + ", %(organization)s", "VC009", "VC009"),
    ("voice_clone.enable_webhook", "%(organizations)s, %(member)s", "VC004", "VC004"),
    ("voice_clone.enable_webhook", "%(webhook)s, %(user)s", "rows", "VC004"),
    ("voice_clone.replay_event", "%(webhook)s, %(user)s, %(event)s", "rows", "VC004"),
    ("voice_clone.replay_event", "%(my_webhook)s, %(user)s, %(event)s", "rows", "VC004"),
    ("voice_clone.rotate_webhook_secret", "%(webhook)s, %(user)s, " + SECRET, "rows", "VC004"),
    ("voice_clone.find_custom_voice", "%(user)s, 'local', %(provider_voice)s, null", "rows", "other rows"),
    ("voice_clone.has_more_events", "%(attempt)s, %(user)s, 0", "True", "nothing"),
    ("voice_clone.add_recording",
     "gen_random_uuid(), %(consenting)s, %(user)s, 'en', 'e/s/a.wav', 'audio/wav', 1, 50", "rows", "VC004"),
    ("voice_clone.check_employee_clone", "%(consenting)s, %(user)s, 50", "rows", "VC004"),
    ("voice_clone.clone_recording",
     "gen_random_uuid(), %(copy)s, %(consenting)s, %(user)s, 'local', '', true", "rows", "VC004"),
    ("voice_clone.complete_employee_preview", "%(consenting)s, %(user)s", "VC001", "VC004"),
    ("voice_clone.delete_employee_voice", "%(consenting)s, %(user)s", "rows", "VC004"),
    ("voice_clone.employee_voice", "%(consenting)s, %(user)s", "rows", "VC004"),
    ("voice_clone.request_employee_preview", "%(consenting)s, %(user)s", "VC001", "VC004"),
    ("voice_clone.invite_employee", "%(consenting)s, %(user)s, sha256('x'), 60", "rows", "VC004"),
    ("voice_clone.invite_employee", "%(consenting)s, %(member)s, sha256('x'), 60", "VC009", "VC009"),
    ("voice_clone.launch_gate", "%(reflection)s, %(user)s", "rows", "nothing"),
    (
        "voice_clone.list_recordings",
        "%(user)s, 'unmatched', 'infinity', gen_random_uuid(), 100",
        "rows",
        "other rows",
    ),
    ("voice_clone.move_voice",
     "gen_random_uuid(), %(voice)s, %(user)s, 'modal', '', '{here}', false, true", "rows", "VC004"),
    ("voice_clone.move_voice",
     "gen_random_uuid(), %(voice)s, %(user)s, 'local', '', '{here}', false, true", "VC007", "VC004"),
    ("voice_clone.open_attempt",
     f"gen_random_uuid(), %(user)s, %(my_consent)s, %(reflection)s, {UPLOAD}", "rows", "VC004"),
    ("voice_clone.open_attempt",
     f"gen_random_uuid(), %(user)s, %(consent)s, %(my_reflection)s, {UPLOAD}", "rows", "VC003"),
    ("voice_clone.open_attempt",  # so many in a day that only another user's attempts would be too many
     f"gen_random_uuid(), %(user)s, %(my_consent)s, null, {UPLOAD}, 20", "rows", "other rows"),
    ("voice_clone.queue_attempt",
     "%(prepared)s, %(user)s, 'Ada', 'en', 'hello', 0", "rows", "VC004"),
    ("voice_clone.receive_sample", "%(sent)s, %(user)s", "rows", "VC004"),
    ("voice_clone.reflection_voice", "%(reflection)s, %(user)s", "rows", "nothing"),
    ("voice_clone.require_employee", "%(consenting)s, %(user)s, true", "rows", "VC004"),
    ("voice_clone.require_employee", "%(consenting)s, %(user)s, false", "rows", "VC004"),
    ("voice_clone.request_preview", "%(unheard)s, %(user)s", "rows", "VC004"),
    ("voice_clone.request_speech",
     "gen_random_uuid(), %(user)s, %(sample)s, 'local', '', 'Hello.', 'Ada'", "rows", "VC004"),
    ("voice_clone.reset_attempt", "%(reflection)s, %(user)s", "rows", "VC004"),
    ("voice_clone.restore_attempt", "%(restorable)s, %(user)s", "rows", "VC004"),
    ("voice_clone.retry_attempt", "%(failed)s, %(user)s", "rows", "VC004"),
    ("voice_clone.retry_elsewhere",
     "gen_random_uuid(), %(failed)s, %(user)s, %(failed_attempt)s, 'qwen', '', true", "rows", "VC004"),
    ("voice_clone.retry_speech", "%(failed_job)s, %(user)s, 'Ada'", "rows", "VC004"),
    ("voice_clone.revoke_consent", "%(consent)s, %(user)s", "rows", "VC004"),
    ("voice_clone.revoke_consent", "%(revoked)s, %(user)s", "rows", "VC004"),
    ("voice_clone.open_challenge", "%(user)s, 'en', 1, 'Say this.'", "rows", "other rows"),
    ("voice_clone.take_challenge", "%(user)s, %(challenge)s", "rows", "VC007"),
    ("voice_clone.sign_spoken_consent", f"%(user)s, %(challenge)s, 'self', null, {PROOF}", "VC007", "VC007"),
    ("voice_clone.sign_consent",
     "%(user)s, 'voice_clone', 'en', 'reflection', %(reflection)s, 1", "rows", "VC004"),
    ("voice_clone.request_erasure", "%(user)s", "rows", "other rows"),
    ("voice_clone.erasure_of_user", "%(erasure)s, %(user)s", "rows", "nothing"),
    ("voice_clone.start_session", "%(reflection)s, %(user)s", "rows", "VC004"),
    ("voice_clone.use_rate_limit", "%(user)s, 'speech', 1, 86400, 2", "rows", "other rows"),
    ("voice_clone.use_custom_voice",
     f"gen_random_uuid(), %(user)s, %(reflection)s, 'local', '', 'stock', null, 'm', {CUSTOM}",
     "rows", "VC004"),
    ("voice_clone.use_custom_voice",
     f"gen_random_uuid(), %(user)s, %(my_reflection)s, 'local', '', %(provider_voice)s, null, 'm', {CUSTOM}",
     "rows", "VC006"),
]  # fmt: skip

UNTOUCHED = (  # by the erasure of another user
    "exists (select from public.voice_clone_attempts"
    " where id = %(attempt)s and is_active and user_id is not null)",
    "exists (select from public.voice_samples"
    " where id = %(sent)s and status <> 'removed' and user_id is not null)",
    "exists (select from public.voices where id = %(voice)s and deleted_at is null and user_id is not null)",
    "exists (select from public.speech_jobs where id = %(job)s and user_id is not null)",
    "exists (select from public.voice_consents where id = %(consent)s and user_id is not null)",
    "exists (select from public.webhooks where id = %(webhook)s)",
    "exists (select from voice_clone.idempotency_keys where key = 'pending')",
    "exists (select from public.voice_sessions where id = %(session)s and user_id is not null)",
    "exists (select from voice_clone.consent_chains k join public.voice_consents c using (person_id)"
    " where c.id = %(consent)s and k.user_id is not null)",
    "exists (select from voice_clone.legacy_events where reflection_id = %(reflection)s and payload <> '{}')",
    "not exists (select from voice_clone.erasure_places where place = 'answers')",
)
# (call, whether a row of another user is as before): what no result of a call shows.
EFFECTS: list[tuple[str, str]] = [
    ("voice_clone.make_room_for_upload(%(crowd)s)",
     "select status = 'awaiting_upload' from public.voice_clone_attempts where id = %(upload)s"),
    ("voice_clone.request_erasure(%(crowd)s)", f"select {' and '.join(UNTOUCHED)}"),
]  # fmt: skip
# Every upload has lost its slot reservation, and no attempt that waits has a message.
BEFORE = """
    update voice_clone.uploads set reserved_until = now() - interval '1 hour';
    delete from pgmq.q_voice_clone_process;
    delete from pgmq.q_speech_jobs
"""

TRIGGER = "the trigger voice_clone_attempts_same_owner compares the owners as well"
LOCKED = "the reflection's owner is compared before; tests/database/test_owners.py makes the two differ"
# Comparisons with the caller whose removal changes no outcome, and why.
EQUIVALENT: dict[str, str] = {
    "voice_clone.use_custom_voice, 1": TRIGGER,
    "voice_clone.use_custom_voice, 2": LOCKED,
    "voice_clone.retry_attempt, 1": LOCKED,
    "voice_clone.retry_elsewhere, 1": LOCKED,
    "voice_clone.restore_attempt, 1": LOCKED,
    "voice_clone.restore_attempt, 2": LOCKED,
    "voice_clone.reset_attempt, 1": LOCKED,
    "voice_clone.start_session, 1": LOCKED,
    "voice_clone.move_voice, 2": "another's reflection has no attempt of the caller's active",
    "voice_clone.no_voice_blockers, 1": LOCKED,
    "voice_clone.custom_uses, 1": "called with attempts of one user, who may use no other's voice",
    "voice_clone.refuse_open_uploads, 1": "says when to come back, after the refusal",
    "voice_clone.check_sample, 1": "spares an early refusal; add_sample compares the caller",
    "voice_clone.withdraw_employee_consents, 1": "called for a user who is being deleted",
    **{
        f"voice_clone.has_rows_of_user, {n}": "says if an erasure is confirmed, and shows no row"
        for n in range(1, 9)
    },
    **{f"voice_clone.speech_attempt, {n}": "called for a sample of the caller's" for n in range(1, 3)},
    "voice_clone.request_speech, 1": "clone_sample and the trigger on speech_jobs compare too",
    "voice_clone.retry_speech, 1": "clone_sample and the trigger on speech_jobs compare too",
    **{
        f"voice_clone.{name}": "the user of the job, and no caller; test_job_slots.py"
        for name in (
            "take_job_slot, 1",
            "take_job_slot, 2",
            "try_job_slot, 1",
            "try_job_slot, 2",
            "release_job_slot, 1",
        )
    },
    "voice_clone.claim_idempotency_key, 1": "the deletion that follows compares the caller as well",
    "voice_clone.claim_idempotency_key, 2": "another's key that it would delete is expired as well",
    "voice_clone.reflection_voice, 1": "the launch gate, which it joins, compares the caller",
    "voice_clone.sign_spoken_consent, 1": "of one that was taken: test_spoken_consents.py",
    "voice_clone.revoke_consent, 3": "reached only after an insert that has compared the caller",
}

CALLABLE = """
    select format('%s.%s', p.pronamespace::regnamespace, p.proname) from pg_proc p
    where p.pronamespace::regnamespace::text in ('public', 'voice_clone') and 'p_user' = any (p.proargnames)
      and has_function_privilege('voice_clone_service', p.oid, 'execute')
"""
COMPARISON = re.compile(r"\b\w+\.user_id = p_user\b")


class Objects:
    """One of each kind for the owner, and for the stranger what a call of hers may name."""

    def __init__(self, given: Fixture) -> None:
        self.owner, self.restorable = superseded(given)[:2]
        self.stranger = given.user()
        self.named: dict[str, Any] = {"restorable": self.restorable}
        self.mine = {user: self.of_each(given, user) for user in (self.owner, self.stranger)}
        self.named |= self.mine[self.owner]
        self.named |= self.of_owner(given)
        self.named |= self.of_organization(given)
        self.named["erasure"] = given.truth(
            "select voice_clone.record_erasure('user', %s, 'user', '{}', '{}', '') as id", self.owner
        )["id"]
        self.crowd(given)

    def of_organization(self, given: Fixture) -> dict[str, Any]:
        """The owner is its admin; the stranger is the admin of another."""
        organization, member = given.organization(self.owner), given.user()
        given.organization(self.stranger)
        given.add_member(organization, member)
        employee = given.employee(organization)
        given.employee_consent(employee, self.owner)
        given.enroll(cloned := given.clone_recording(employee, self.owner))
        recording = given.recording(employee, self.owner)
        webhook = given.one(
            f"select id from voice_clone.create_webhook(gen_random_uuid(), %s, 'u', {OLD_SECRET}, %s)",
            self.owner, organization,
        )  # fmt: skip
        return {
            "consenting": employee, "employees_attempt": cloned, "member": member, "copy": recording,
            "organization": organization,
            "employees_voice": given.attempt(cloned)["voice_id"],
            "organizations": webhook["id"], "employees_event": given.truth(LAST_EVENT, cloned)["id"],
        }  # fmt: skip

    def of_each(self, given: Fixture, user: UUID) -> dict[str, Any]:
        reflection = given.reflection(user)
        attempt = given.launchable(user, reflection)
        row = given.attempt(attempt)
        held = given.one("select * from voice_clone.claim_idempotency_key(%s, 'answered', '')", user)
        event = "select * from voice_clone.receive_legacy_event('voice_clone_outbox', %s, %s, '{\"a\": 1}')"
        given.one(event, str(uuid4()), reflection)
        given.one("select voice_clone.keep_idempotent_answer(%s, 1, 200, '[]', '')", held["id"])
        voice = given.truth("select id from public.voices where attempt_id = %s", attempt)["id"]
        organization = given.organization(user)
        recording = given.one(
            "select recording_id from voice_clone.receive_recording(%s, %s, %s, now(), 1, 1, %s)",
            f"AC{0:032x}", f"CA{uuid4().hex}", f"RE{uuid4().hex}", organization,
        )["recording_id"]  # fmt: skip
        webhook = given.one(
            f"select id from voice_clone.create_webhook(gen_random_uuid(), %s, 'u', {OLD_SECRET})", user
        )
        organizations = given.one(
            f"select id from voice_clone.create_webhook(gen_random_uuid(), %s, 'u', {OLD_SECRET}, %s)",
            user, organization,
        )  # fmt: skip
        return {
            "recording": recording, "employee": given.employee(organization),
            "webhook": webhook["id"], "organization": organization, "organizations": organizations["id"],
            "session": given.one("select id from voice_clone.start_session(%s, %s)", reflection, user)["id"],
            "reflection": reflection, "attempt": attempt, "sample": row["sample_id"], "voice": voice,
            "provider_voice": row["provider_voice_id"], "consent": given.consent(user),
        }  # fmt: skip

    def of_owner(self, given: Fixture) -> dict[str, Any]:
        user = self.owner
        failed, unheard, revoked = given.reflection(user), given.reflection(user), given.consent(user)
        failed_attempt = given.queued(user, failed)
        fail(given, failed_attempt)
        given.enroll(rendered := given.queued(user, unheard))
        for step, sql in (
            ("runtime", "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)"),
            (
                "preview",
                "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p', null, null, 0, null)",
            ),
        ):
            given.one(sql, rendered, given.step(rendered, step))
        given.one("select * from voice_clone.revoke_consent(%s, %s)", revoked, user)
        given.one("select * from voice_clone.use_rate_limit(%s, 'speech', 1, 86400, 1)", user)
        given.one("select * from voice_clone.claim_idempotency_key(%s, 'pending', '')", user)
        upload, prepared = given.open(user, None), given.open(user, None)
        given.prepare(prepared, user)
        return {
            "prepared": prepared, "sent": given.add_sample(user),
            "bound_consent": given.consent(user, failed),
            "challenge": given.one(CHALLENGE, user)["id"],
            "failed": failed, "failed_attempt": failed_attempt, "unheard": unheard, "revoked": revoked,
            **self.speech_jobs(given),
            "event": given.truth(LAST_EVENT, failed_attempt)["id"],
            "upload": upload, "waiting": given.queued(user, None),
        }  # fmt: skip

    def speech_jobs(self, given: Fixture) -> dict[str, UUID]:
        """One that may start, and one that failed."""
        user, sample = self.owner, self.mine[self.owner]["sample"]
        job, failed = (given.one(REQUEST, uuid4(), user, sample)["id"] for _ in range(2))
        given.one("select * from voice_clone.claim_speech_job(%s, 'worker', 60, 4)", failed)
        given.one("select voice_clone.fail_speech(%s, 1, 'inference_failed', 'No.', null, null)", failed)
        return {"job": job, "failed_job": failed}

    def crowd(self, given: Fixture) -> None:
        """A third user, who may open, clone, speak and use no more: that limits nobody else."""
        user = self.named["crowd"] = given.user()
        given.enroll(speaking := given.queued(user, None))
        attempts = [speaking, *(given.queued(user, None) for _ in range(20))]
        for attempt in attempts[:20]:
            job = given.one(REQUEST, uuid4(), user, given.attempt(attempt)["sample_id"])
            given.one("select * from voice_clone.claim_speech_job(%s, 'worker', 60, 4)", job["id"])
        for _ in range(10):
            given.one(
                f"select id from voice_clone.create_webhook(gen_random_uuid(), %s, 'u', {OLD_SECRET})", user
            )
        for _ in range(6):
            given.add_sample(user)
        with suppress(psycopg.Error):
            while True:
                given.open(user, None)
        given.superuser.execute(
            "insert into voice_clone.idempotency_keys (user_id, key, fingerprint, lease_expires_at)"
            " select %s, n::text, '', now() from generate_series(1, 2000) n", (user,),
        )  # fmt: skip

    def arguments(self, caller: UUID) -> dict[str, Any]:
        mine = {f"my_{name}": value for name, value in self.mine[caller].items()}
        return self.named | mine | {"user": caller}


def result(connection: Connection, function: str, arguments: str, objects: Objects, caller: UUID) -> object:
    """The rows, or the SQLSTATE. Rolled back."""
    with connection.transaction(force_rollback=True):
        claims = f'{{"sub": "{caller}", "role": "authenticated"}}'
        connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        statement = f"select * from {function}({arguments})".encode()
        try:
            with connection.transaction():
                cursor = connection.cursor(row_factory=tuple_row)
                rows = cursor.execute(statement, objects.arguments(caller)).fetchall()
        except psycopg.Error as error:
            return str(error.sqlstate)
    rows = [tuple(round(each, 3) if isinstance(each, float) else each for each in row) for row in rows]
    rows = [row for row in rows if any(value is not None for value in row)]
    if not rows:
        return "nothing"
    is_flag = len(rows) == 1 and isinstance(rows[0][0], bool) and len(rows[0]) == 1
    return str(rows[0][0]) if is_flag else rows


def differences(connection: Connection, objects: Objects) -> Iterator[str]:
    """Where a call has another outcome than is written."""
    for call, is_as_before in EFFECTS:
        if not leaves(connection, call, is_as_before, objects):
            yield f"{call} changes a row of another user; see EFFECTS of {PLACE}"
    for function, arguments, of_owner, of_stranger in CALLS:
        owners = result(connection, function, arguments, objects, objects.owner)
        strangers = result(connection, function, arguments, objects, objects.stranger)
        if outcome(owners, None) != of_owner or outcome(strangers, owners) != of_stranger:
            found = f"{outcome(owners, None)} for the owner and {outcome(strangers, owners)} for a stranger"
            yield f"{function}({arguments}) gives {found}; {PLACE} says {of_owner} and {of_stranger}"


def leaves(connection: Connection, call: str, is_as_before: str, objects: Objects) -> bool:
    """Whether a row of another user is as it was before the call, which succeeded. Rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(BEFORE.encode())
        try:
            with connection.transaction():
                connection.execute(f"select {call}".encode(), objects.named)
        except psycopg.Error:
            return False
        found = connection.cursor(row_factory=tuple_row).execute(is_as_before.encode(), objects.named)
        return found.fetchone() == (True,)


def outcome(found: object, owners: object) -> str:
    """`other rows` are not those that the owner gets."""
    if isinstance(found, str):
        return found
    return "other rows" if isinstance(owners, list) and found != owners else "rows"


def without_a_call(connection: Connection) -> list[str]:
    called = {function for function, *_ in CALLS}
    found = {name for (name,) in connection.cursor(row_factory=tuple_row).execute(CALLABLE.encode())}
    return [
        f"{name} acts for a user and has no written expectation."
        f" Write a call with each object that it takes in CALLS of {PLACE}"
        for name in sorted(found - called)
    ]


def mutants(connection: Connection) -> Iterator[tuple[str, str]]:
    """(function and number, definition): without one comparison of an object's user with the caller."""
    functions = connection.execute("""
        select format('%s.%s', p.pronamespace::regnamespace, p.proname), pg_get_functiondef(p.oid)
        from pg_proc p
        where p.pronamespace::regnamespace::text in ('public', 'voice_clone')
          and 'p_user' = any (p.proargnames)
    """).fetchall()
    for name, source in functions:
        for number, found in enumerate(COMPARISON.finditer(source), 1):
            yield f"{name}, {number}", f"{source[: found.start()]}true{source[found.end() :]}"
