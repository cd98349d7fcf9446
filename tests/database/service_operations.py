"""Operations beside the voice itself: webhooks, messages, keys of calls, and what operators run."""

from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.database.operation import Operation, Situation, call, host
from tests.fixture import Fixture

SECRET = "'whsec_' || repeat('A', 43) || '='"
OTHER_SECRET = "'whsec_' || replace(gen_random_uuid()::text, '-', '')"
LEASE = "%(active)s, %(epoch)s"
OF_KEY = "%(key)s, 1"
PROOF = {
    "words": 0.9, "words_needed": 0.45, "words_by": "a",
    "speaker": 0.8, "speaker_needed": 0.65, "speaker_by": "b", "sample": "00" * 32,
}  # fmt: skip
ONE = "launched"  # the state of the attempt does not matter


def operate(function: str, arguments: str, *states: str) -> Operation:
    sql = f"select * from operations.{function}({arguments})"  # noqa: S608 - our own text
    return host(function, sql, *states)


SERVICE_OPERATIONS = [
    # the owner's
    call("check_opening", "%(user)s, %(consent)s, %(reflection)s, 100, 'local', ''", ONE),
    call("create_webhook", f"gen_random_uuid(), %(user)s, 'https://example.org', {SECRET}", ONE),
    call("delete_webhook", "%(webhook)s, %(user)s", ONE),
    call("enable_webhook", "%(webhook)s, %(user)s", ONE),
    call("rotate_webhook_secret", f"%(webhook)s, %(user)s, {OTHER_SECRET}", ONE),
    call("replay_event", "%(webhook)s, %(user)s, %(transition)s", ONE),
    call("claim_idempotency_key", "%(user)s, 'another', sha256('x')", ONE),
    call("renew_idempotency_key", OF_KEY, ONE),
    call("keep_idempotent_result", f"{OF_KEY}, '{{}}'::jsonb", ONE),
    call("keep_idempotent_answer", f"{OF_KEY}, 200, '{{}}'::jsonb, 'x'", ONE),
    call("use_rate_limit", "%(user)s, 'requests', 100, 60, 1", ONE),
    call("erasure_of_user", "%(erasure)s, %(user)s", ONE),
    call("open_challenge", "%(user)s, 'en', 1, 'Say this.'", ONE),
    call("take_challenge", "%(other_user)s, %(untaken_challenge)s", ONE),
    call("sign_spoken_consent", "%(user)s, %(challenge)s, 'self', null, %(proof)s", ONE),
    # a worker's
    call("claim_webhook", "%(webhook)s, 'other', 4, 10"),
    call("record_deliveries", "%(delivering)s, 1, %(results)s, 0"),
    call("refuse_upload", "%(opened)s, 'x', 'No.', null", ONE),
    call("refuse_legacy_event", "%(legacy_event)s, 'x', 'No.'", ONE),
    call("wait_for_slot", f"{LEASE}, null", "processing", "claimed"),
    call("lose_voice", "'local', '', array['']::text[], %(kept_provider_voice)s", "launched", "failed"),
    call("claim_voice_check", "%(check)s", ONE),
    call("lose_checked_voice", "%(check)s, 1, %(kept_provider_voice)s", "launched", "failed"),
    call("record_voice_check", "%(check)s, 1, null, null, null, 0, null", ONE),
    call("begin_canary", "%(check)s, 1, %(kept_voice)s", ONE),
    call("end_canary", "%(check)s, 1, %(kept_voice)s, true, null", ONE),
    call("note_speech_of", "%(kept_voice)s, %(user)s", ONE),
    call("end_object_removal", "%(removal)s, true, null", ONE),
    call("note_failed_cleanup", "%(enrollment)s, 'x'", "failed"),
    call("note_provider_error", "%(active)s, 'create', 'local', 'x', 400, null, null, null", ONE),
    call("claim_anchor", "%(publication)s", ONE),
    call("record_publication", "%(publication)s, 1, null, '{}', 'x', null", ONE),
    call("mirror_unlocked_reflections", "array[%(reflection)s, %(other_reflection)s]::uuid[]"),
    call("sweep_enrollments", "100", "failed"),
    call("send_messages", "'voice_mirror', array['{}'::jsonb], 0", ONE),
    call("read_messages", "'voice_clone_process', 0, 100"),
    call("postpone_messages", "'voice_clone_process', %(messages)s, %(zeros)s"),
    call("acknowledge_messages", "'voice_clone_process', %(messages)s"),
    call(
        "dead_letter_messages",
        "'voice_clone_process', %(messages)s, %(bodies)s::jsonb[], %(zeros)s, %(reasons)s",
    ),
    call("delete_expired_idempotency_keys", "100", ONE),
    call("delete_expired_manifests", "100", ONE),
    call("keep_manifest", "sha256('another'), 'x'", ONE),
    call("kept_manifest", "sha256('another')", ONE),
    call("set_slots", "'local', '', 100", "processing"),
    call("set_slots", "'local', '', null", "processing", name="set_no_slots"),
    call("report_consumer", "gen_random_uuid(), 'host', array['voice_mirror'], false", ONE),
    call("send_notifications", "array['voice_clone_wake'], array['voice_mirror']", ONE),
    # the operator's
    operate("erase", "'user', %(user)s"),
    host("erase voice", "select operations.erase('voice', %(kept_voice)s)"),
    operate("erasure", "%(erasure)s", ONE),
    operate("place_hold", "%(user)s, 'x'", ONE),
    operate("release_hold", "%(user)s", ONE),
    operate("set_retention", "'preview', 1000000", ONE),
    operate("compare_mirrors", "'reflection', null, 100, 0, true"),
    operate("anchor_consents", "", ONE),
    operate("redrive_dead_letters", "array[%(letter)s]", ONE),
    operate("drop_dead_letters", "array[%(letter)s]", ONE),
    operate("drop_events", "interval '90 days'", ONE),
    operate("require_spoken_consent", "false", ONE),
    operate("retry_attempt", "%(active)s", "failed", "unsynced"),
    operate("take_down", "%(active)s, 'x', true"),
    operate("lift_takedown", "%(active)s, 'x', true"),
    operate("retry_attempt", "%(active)s", "failed"),
    operate("begin_reconciliation", "'local', '', array['']", ONE),
    operate(
        "add_listed_voices",
        "%(list)s, 'list', null, array['v'], array['l'], array['m'], array['v'], 'x'",
        ONE,
    ),
    operate("add_looked_up_voices", "%(confirm)s, array['v'], array['w']", ONE),
    operate("repair_voice", "%(compare)s, 'gone', %(kept_provider_voice)s", "launched", "failed"),
    operate("end_reconciliation", "%(compare)s", ONE),
    operate("import_legacy_voices", "null, 10", ONE),
    operate("repair_storage", "'voice-samples', 'missing', 'x', %(sample)s, 0"),
]


def service_situation(given: Fixture, user: UUID, other_user: UUID, attempt: UUID) -> Situation:
    """A webhook that waits and one that a worker has, a key in use, and what operators look at."""
    webhook, delivering = (register(given, user) for _ in range(2))
    transition = given.truth(
        "select max(e.id) as id from voice_clone.events e where e.attempt_id = %s", attempt
    )["id"]
    for each in (webhook, delivering):
        given.one("select * from voice_clone.replay_event(%s, %s, %s)", each, user, transition)
    given.one("select * from voice_clone.claim_webhook(%s, 'worker', 4, 10)", delivering)
    given.superuser.execute(
        "update voice_clone.timeouts set value = interval '1 hour' where name = 'consent_anchor'"
    )
    given.truth("select operations.anchor_consents() as anchor")
    publication = given.truth("select id from voice_clone.anchor_publications order by anchor desc limit 1")[
        "id"
    ]
    given.one("select * from voice_clone.claim_anchor(%s)", publication)
    folder = f"{user}/{attempt}"
    given.truth("select voice_clone.request_object_removal('voice-previews', %s)", folder)
    removal = given.truth("select id from voice_clone.object_removals where folder = %s", folder)["id"]
    messages = [each["msg_id"] for each in given.messages("voice_clone_process")]
    return {
        "webhook": webhook,
        "delivering": delivering,
        "results": Jsonb([{"event_id": transition, "outcome": "delivered"}]),
        "transition": transition,
        "key": given.one("select id from voice_clone.claim_idempotency_key(%s, 'one', sha256('x'))", user)[
            "id"
        ],
        "publication": publication,
        "removal": removal,
        "messages": messages,
        "zeros": [0] * len(messages),
        "bodies": ["{}"] * len(messages),
        "reasons": ["x"] * len(messages),
        "erasure": erasure(given),
        "letter": dead_letter(given),
        "challenge": challenge(given, user, is_taken=True),
        "untaken_challenge": challenge(given, other_user, is_taken=False),
        "proof": Jsonb(PROOF),
        "check": claimed_check(given),
        **reconciliations(given, given.attempt(attempt)["provider_voice_id"]),
    }


def register(given: Fixture, user: UUID) -> UUID:
    create = (
        f"select id from voice_clone.create_webhook(gen_random_uuid(), %s, 'https://example.org', {SECRET})"  # noqa: S608
    )
    return given.one(create, user)["id"]


def erasure(given: Fixture) -> UUID:
    """Of a user whose consent is gone with them."""
    other = given.user()
    given.consent(other)
    return given.one("select voice_clone.request_erasure(%s) ->> 'erasure_id' as id", other)["id"]


def dead_letter(given: Fixture) -> Any:
    return given.truth(
        "insert into voice_clone.dead_letters (queue, message_id, message, reads, reason)"
        " values ('voice_mirror', 1, '{}', 5, 'x') returning id"
    )["id"]


def challenge(given: Fixture, user: UUID, *, is_taken: bool) -> UUID:
    made = given.one("select id from voice_clone.open_challenge(%s, 'en', 1, 'Say this.')", user)["id"]
    if is_taken:
        given.one("select voice_clone.take_challenge(%s, %s)", user, made)
    return made


def claimed_check(given: Fixture) -> UUID:
    """Of the account that has the voices."""
    check = given.truth(
        "update voice_clone.voice_checks set due_at = now(), sweep_at = now(), lease_expires_at = null,"
        " lease_epoch = 0 where provider = 'local' returning id"
    )["id"]
    given.one("select * from voice_clone.claim_voice_check(%s)", check)
    return check


def reconciliations(given: Fixture, voice: str) -> Situation:
    """A run in each phase; the one that compares did not find the voice."""
    places = {"list": "qwen", "confirm": "elevenlabs", "compare": "local"}
    given.superuser.execute("delete from voice_clone.reconciliations")
    runs = {
        phase: given.truth(
            "insert into voice_clone.reconciliations (provider, region, accounts, phase, started_at)"
            " values (%s, '', array[''], %s, now() + interval '2 hours') returning id", provider, phase,
        )["id"]
        for phase, provider in places.items()
    }  # fmt: skip
    given.superuser.execute(
        "insert into voice_clone.listed_voices (run, provider_voice_id, is_there) values (%s, %s, false)",
        (runs["compare"], voice),
    )
    return runs
