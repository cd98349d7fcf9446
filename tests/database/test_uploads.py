"""Open uploads: how many, how long each keeps its voice slot, and one inspection of each at a time."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixture import Fixture, Row


def refusal(given: Fixture, sql: str, *parameters: object) -> tuple[str | None, Row]:
    with pytest.raises(psycopg.Error) as caught:
        given.one(sql, *parameters)
    return caught.value.sqlstate, json.loads(caught.value.diag.message_detail or "{}")


def open_one(given: Fixture, user: UUID, consent: UUID, per_day: int | None = None) -> UUID:
    attempt = uuid4()
    given.one(
        "select * from voice_clone.open_attempt"
        "(%s, %s, %s, null, 'local', '', %s, 'audio/wav', 9, true, %s)",
        attempt, user, consent, f"{user}/{attempt}/sample.wav", per_day,
    )  # fmt: skip
    return attempt


def leave(given: Fixture, attempt: UUID) -> None:
    """Its slot reservation ends."""
    given.superuser.execute(
        "update voice_clone.uploads set reserved_until = now() where attempt_id = %s", (attempt,)
    )


def begin(given: Fixture, attempt: UUID, user: UUID) -> int:
    return given.claim_upload(attempt, user)["lease_epoch"]


BEGIN = "select * from voice_clone.claim_upload(%s, %s, 'worker')"
OPEN = (
    "select * from voice_clone.open_attempt"
    "(gen_random_uuid(), %s, %s, null, 'local', '', gen_random_uuid()::text, 'audio/wav', 9, true, %s)"
)


def test_a_user_has_at_most_five_open_uploads(given: Fixture) -> None:
    user, other = given.user(), given.user()
    consent = given.consent(user)
    opened = [open_one(given, user, consent) for _ in range(5)]
    state, detail = refusal(given, OPEN, user, consent, None)
    assert (state, detail["code"]) == ("VC008", "too_many_open_uploads")
    assert 0 < detail["retry_after"] <= 900
    open_one(given, other, given.consent(other))
    given.queue(opened[0], user)
    open_one(given, user, consent)


def test_an_upload_that_was_left_gives_way_to_a_sixth(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    opened = [open_one(given, user, consent) for _ in range(5)]
    leave(given, opened[2])
    open_one(given, user, consent)
    assert [given.attempt(each)["status"] for each in opened].count("expired") == 1
    assert given.attempt(opened[2])["status"] == "expired"
    assert refusal(given, OPEN, user, consent, None)[0] == "VC008"


def test_many_opens_at_once_open_five(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)

    def attempt_open(_: int) -> str:
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            try:
                connection.execute(OPEN.encode(), (user, consent, None))
            except psycopg.Error as error:
                return str(error.sqlstate)
            return "opened"

    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(attempt_open, range(12)))
    assert sorted(outcomes) == ["VC008"] * 7 + ["opened"] * 5


def test_a_user_makes_so_many_attempts_a_day(given: Fixture) -> None:
    user = given.user()
    consent, reflection = given.consent(user), given.reflection(user)
    for _ in range(3):
        given.queue(open_one(given, user, consent, 3), user)
    state, detail = refusal(given, OPEN, user, consent, 3)
    assert (state, detail["code"]) == ("VC008", "too_many_attempts")
    assert 86_000 < detail["retry_after"] <= 86_400
    sample = given.truth("select id from public.voice_samples where user_id = %s limit 1", user)["id"]
    clone = "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada', %s)"
    state, detail = refusal(given, clone, uuid4(), user, sample, reflection, 3)
    assert (state, detail["code"]) == ("VC008", "too_many_attempts")
    given.superuser.execute("set session_replication_role = replica")
    given.superuser.execute(
        "update public.voice_clone_attempts set created_at = created_at - interval '1 day'"
        " where id = (select id from public.voice_clone_attempts where user_id = %s"
        " order by created_at limit 1)", (user,),
    )  # fmt: skip
    given.superuser.execute("set session_replication_role = origin")
    open_one(given, user, consent, 3)
    assert refusal(given, OPEN, user, consent, 3)[0] == "VC008"
    open_one(given, user, consent, None)


def test_a_slot_that_nothing_is_uploaded_for_is_free_after_its_reservation(given: Fixture) -> None:
    given.one("select voice_clone.set_slots('local', '', 1)")
    user, other = given.user(), given.user()
    first = open_one(given, user, given.consent(user))
    assert refusal(given, OPEN, other, given.consent(other), None)[1]["code"] == "provider_full"
    leave(given, first)
    second = open_one(given, other, given.consent(other))
    # The first may still be used later, if a slot is free.
    assert refusal(given, BEGIN, first, user)[1]["code"] == "provider_full"
    with pytest.raises(psycopg.Error, match="No voice slot is left"):
        given.queue(first, user)
    leave(given, second)
    given.queue(first, user)
    assert refusal(given, BEGIN, second, other)[1]["code"] == "provider_full"


def test_the_uploaded_object_renews_the_reservation(given: Fixture) -> None:
    given.one("select voice_clone.set_slots('local', '', 1)")
    user, other = given.user(), given.user()
    first = open_one(given, user, given.consent(user))
    leave(given, first)
    given.superuser.execute(
        "insert into storage.objects (bucket_id, name)"
        " select 'voice-samples', s.path from public.voice_samples s where s.user_id = %s", (user,),
    )  # fmt: skip
    assert refusal(given, OPEN, other, given.consent(other), None)[1]["code"] == "provider_full"
    given.superuser.execute("alter table storage.objects disable trigger user")
    given.superuser.execute("update storage.objects set updated_at = now() - interval '16 minutes'")
    open_one(given, other, given.consent(other))


def test_one_inspection_at_a_time(given: Fixture) -> None:
    user = given.user()
    attempt = open_one(given, user, given.consent(user))
    epoch = begin(given, attempt, user)
    state, detail = refusal(given, BEGIN, attempt, user)
    assert (state, detail["code"]) == ("VC007", "inspection_in_progress")
    assert detail["retry_after"]
    sample = given.attempt(attempt)["sample_id"]
    given.one("select voice_clone.refuse_sample(%s, %s, 'sample_silent', 'No.', null)", sample, epoch)
    assert begin(given, attempt, user) == epoch + 1


def test_who_lost_the_lease_of_an_inspection_completes_and_renews_nothing(given: Fixture) -> None:
    user = given.user()
    attempt = open_one(given, user, given.consent(user))
    sample = given.attempt(attempt)["sample_id"]
    renew = "select voice_clone.renew_sample(%s, %s) as kept"
    over = "update public.voice_samples set lease_expires_at = now()"
    slow = begin(given, attempt, user)
    given.superuser.execute(over)
    assert given.one(renew, sample, slow)["kept"]
    given.superuser.execute(over)
    fast = begin(given, attempt, user)
    assert not given.one(renew, sample, slow)["kept"]
    complete = "select voice_clone.complete_sample(%s, %s, 'audio/wav', 9, '{}'::jsonb, 'p.wav', 2000)"
    assert refusal(given, complete, sample, slow)[0] == "VC002"
    assert given.sample(sample)["status"] == "processing"
    given.one(complete, sample, fast)
    assert begin(given, attempt, user) is None, "it is ready, and only the attempt is to be queued"
    given.one("select * from voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)", attempt, user)
    assert refusal(given, BEGIN, attempt, user)[0] == "VC001"
    assert given.truth("select count(*) from voice_clone.uploads")["count"] == 0


def test_an_attempt_is_not_queued_before_its_sample_is_ready(given: Fixture) -> None:
    user = given.user()
    attempt = open_one(given, user, given.consent(user))
    begin(given, attempt, user)
    queue = "select * from voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)"
    assert refusal(given, queue, attempt, user)[0] == "VC004"
    assert given.attempt(attempt)["status"] == "awaiting_upload"


def test_an_inspection_is_authorised_first(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    attempt = open_one(given, user, consent)
    assert refusal(given, BEGIN, attempt, given.user())[0] == "VC004"
    assert refusal(given, BEGIN, uuid4(), user)[0] == "VC004"
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    assert refusal(given, BEGIN, attempt, user)[0] in {"VC001", "VC003"}


def removals(given: Fixture) -> list[str]:
    rows = given.superuser.execute(
        "select folder from voice_clone.object_removals where bucket = 'voice-samples'"
    )
    return [row["folder"] for row in rows]


@pytest.mark.parametrize("end", ["too late", "gives way", "cancelled"])
def test_what_was_uploaded_for_an_attempt_that_ends_unused_is_removed(given: Fixture, end: str) -> None:
    user = given.user()
    reflection, consent = given.reflection(user), given.consent(user)
    attempt = given.open(user, reflection, consent)
    if end == "too late":
        given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'upload'")
        given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
        given.service.execute("select * from voice_clone.sweep(10)")
    elif end == "gives way":
        leave(given, attempt)
        for _ in range(5):
            open_one(given, user, consent)
    else:
        given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
    assert given.attempt(attempt)["status"] == ("cancelled" if end == "cancelled" else "expired")
    assert removals(given) == [f"{user}/{attempt}"]
    assert len(given.messages("object_removal")) == 1


def test_what_was_uploaded_for_an_attempt_that_was_queued_stays_when_it_is_superseded(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.consents[user] = given.consent(user)
    first, second = (given.queued(user, reflection) for _ in range(2))
    assert given.attempt(first)["status"] == "cancelled"
    assert given.attempt(second)["status"] == "queued"
    assert removals(given) == []


def test_an_opening_is_checked_with_its_consent_before_anything_is_sent(given: Fixture) -> None:
    """Where a whole file comes with the request, nothing of it is read without a consent."""
    user = given.user()
    consent = given.consent(user)
    check = "select voice_clone.check_opening(%s, %s, null, null, 'local', '')"
    given.one(check, user, consent)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    assert refusal(given, check, user, consent)[0] == "VC003"
    assert refusal(given, check, user, given.consent(given.user()))[0] == "VC003"
