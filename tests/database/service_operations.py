"""Operations beside the voice itself: webhooks, messages, keys of calls, and what operators run."""

from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.database.operation import Operation, Situation, call, host
from tests.fixture import Fixture

SECRET = "'whsec_' || repeat('A', 43) || '='"
OTHER_SECRET = "'whsec_' || repeat('B', 43) || '='"
LEASE = "%(active)s, %(epoch)s"
OF_KEY = "%(key)s, 1"
ONE = "launched"  # the state of the attempt does not matter


def operate(function: str, arguments: str, *states: str) -> Operation:
    sql = f"select * from operations.{function}({arguments})"  # noqa: S608 - our own text
    return host(function, sql, *states)


SERVICE_OPERATIONS = [
    # the owner's
    call("check_opening", "%(user)s, %(consent)s, %(reflection)s, 100", ONE),
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
    # a worker's
    call("claim_webhook", "%(webhook)s, 'other', 4, 10"),
    call("record_deliveries", "%(delivering)s, 1, %(results)s, 0"),
    call("refuse_upload", "%(opened)s, 'x', 'No.', null", ONE),
    call("refuse_legacy_event", "%(legacy_event)s, 'x', 'No.'", ONE),
    call("wait_for_slot", f"{LEASE}, null", "processing", "claimed"),
    call("lose_voice", "'local', '', array['']::text[], %(kept_provider_voice)s", "launched", "failed"),
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
]


def service_situation(given: Fixture, user: UUID, attempt: UUID) -> Situation:
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
