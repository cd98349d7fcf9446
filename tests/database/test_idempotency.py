"""One call at a time for a key, one stored response; a key is deleted after a day."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from psycopg.errors import DatabaseError
from psycopg.types.json import Jsonb

from backend.database.pool import Database as Pool
from backend.settings.database import DatabaseSettings
from backend.web.idempotency import RENEW_SECONDS, KeyClaim, renew
from tests.fixture import Fixture, Row

CALL, OTHER_CALL = b"one call", b"another call"


def claim(given: Fixture, user: UUID, key: str = "k", call: bytes = CALL) -> Row:
    return given.one("select * from voice_clone.claim_idempotency_key(%s, %s, %s)", user, key, call)


def refusal(given: Fixture, user: UUID, key: str = "k", call: bytes = CALL) -> dict[str, Any]:
    with pytest.raises(DatabaseError) as caught:
        claim(given, user, key, call)
    assert caught.value.sqlstate == "VC007"
    return json.loads(caught.value.diag.message_detail or "")


def keep_result(given: Fixture, held: Row, result: object) -> None:
    given.one(
        "select voice_clone.keep_idempotent_result(%s, %s, %s)", held["id"], held["epoch"], Jsonb(result)
    )


def keep_answer(given: Fixture, held: Row, status: int | None = 201) -> None:
    headers, body = (None, None) if status is None else (Jsonb([["content-type", "text/plain"]]), b"\0made")
    given.one(
        "select voice_clone.keep_idempotent_answer(%s, %s, %s, %s, %s)",
        held["id"], held["epoch"], status, headers, body,
    )  # fmt: skip


def set_time(given: Fixture, name: str, value: str) -> None:
    given.superuser.execute("update voice_clone.timeouts set value = %s where name = %s", (value, name))


def kept_keys(given: Fixture) -> int:
    return given.truth("select count(*) from voice_clone.idempotency_keys")["count"]


def test_a_kept_answer_is_given_again_byte_for_byte(given: Fixture) -> None:
    user = given.user()
    held = claim(given, user)
    assert held["status"] is None
    keep_answer(given, held)
    again = claim(given, user)
    assert (again["status"], again["headers"], again["body"]) == (
        201, [["content-type", "text/plain"]], b"\0made",
    )  # fmt: skip


def test_while_the_first_call_runs_another_waits(given: Fixture) -> None:
    user = given.user()
    claim(given, user)
    assert refusal(given, user) == {
        "code": "idempotency_key_in_use", "field": "Idempotency-Key", "retry_after": 1,
    }  # fmt: skip


@pytest.mark.parametrize("answered", [False, True])
def test_a_key_is_for_one_call_only(given: Fixture, answered: bool) -> None:
    user = given.user()
    held = claim(given, user)
    if answered:
        keep_answer(given, held)
    assert refusal(given, user, call=OTHER_CALL)["code"] == "idempotency_key_reused"


def test_the_same_key_of_another_user_is_another_key(given: Fixture) -> None:
    ada, bob = given.user(), given.user()
    keep_answer(given, claim(given, ada))
    assert claim(given, bob, call=OTHER_CALL)["status"] is None


def test_of_many_calls_at_once_one_has_the_key(given: Fixture) -> None:
    user = given.user()

    def try_once(_: int) -> str:
        with psycopg.connect(given.database.service, autocommit=True) as service:
            try:
                service.execute("select * from voice_clone.claim_idempotency_key(%s, 'k', %s)", (user, CALL))
            except DatabaseError as error:
                return str(error.sqlstate)
        return "held"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(try_once, range(8)))
    assert sorted(outcomes) == ["VC007"] * 7 + ["held"]


def test_who_takes_over_is_given_what_the_first_call_created(given: Fixture) -> None:
    user = given.user()
    set_time(given, "idempotency_lease", "0")
    first = claim(given, user)
    keep_result(given, first, {"made": 1})
    second = claim(given, user)
    assert (second["id"], second["result"]) == (first["id"], {"made": 1})
    assert second["epoch"] == first["epoch"] + 1


def test_a_call_that_lost_its_key_creates_nothing_and_stores_no_answer(given: Fixture) -> None:
    user = given.user()
    set_time(given, "idempotency_lease", "0")
    slow = claim(given, user)
    quick = claim(given, user)
    with pytest.raises(DatabaseError) as caught:
        keep_result(given, slow, {"made": "late"})
    assert caught.value.sqlstate == "VC007"
    keep_answer(given, slow)
    keep_result(given, quick, {"made": "in time"})
    assert claim(given, user)["result"] == {"made": "in time"}


def test_where_nothing_was_answered_the_key_is_free_at_once(given: Fixture) -> None:
    user = given.user()
    keep_answer(given, claim(given, user), status=None)
    assert claim(given, user)["epoch"] == 2


def test_a_key_is_new_when_its_day_is_over(given: Fixture) -> None:
    user = given.user()
    first = claim(given, user)
    keep_answer(given, first)
    set_time(given, "idempotency", "0")
    again = claim(given, user, call=OTHER_CALL)
    assert again["status"] is None
    assert again["id"] != first["id"], "what the old key made has its id"


def test_keys_are_forgotten_a_few_at_a_time_when_their_day_is_over(given: Fixture) -> None:
    user = given.user()
    for number in range(5):
        claim(given, user, str(number))
    forget = "select voice_clone.delete_expired_idempotency_keys(3) as forgotten"
    assert given.one(forget)["forgotten"] == 0
    set_time(given, "idempotency", "0")
    assert [given.one(forget)["forgotten"] for _ in range(3)] == [3, 2, 0]
    assert kept_keys(given) == 0


def test_a_deleted_user_leaves_no_keys(given: Fixture) -> None:
    user = given.user()
    claim(given, user)
    given.superuser.execute("delete from auth.users where id = %s", (user,))
    assert kept_keys(given) == 0


def test_a_key_that_could_not_be_a_header_is_refused(given: Fixture) -> None:
    for key in ("", "x" * 256, "a\nb", "ä"):
        with pytest.raises(psycopg.errors.CheckViolation):
            claim(given, given.user(), key)


def test_a_renewed_key_is_not_taken_over_and_one_without_renewals_is(given: Fixture) -> None:
    user = given.user()
    set_time(given, "idempotency_lease", "0")
    held = claim(given, user)
    set_time(given, "idempotency_lease", "1 hour")
    renew = "select voice_clone.renew_idempotency_key(%s, %s) as held"
    assert given.one(renew, held["id"], held["epoch"])["held"]
    assert refusal(given, user)["code"] == "idempotency_key_in_use"
    given.superuser.execute("update voice_clone.idempotency_keys set lease_expires_at = now()")
    assert claim(given, user)["epoch"] == held["epoch"] + 1
    assert not given.one(renew, held["id"], held["epoch"])["held"], "another call has it"


def test_a_key_is_free_soon_after_its_process_is_gone(given: Fixture) -> None:
    lease = given.truth("select value from voice_clone.timeouts where name = 'idempotency_lease'")["value"]
    assert 3 * RENEW_SECONDS <= lease.total_seconds() <= 10


async def test_a_call_that_runs_long_renews_its_key(given: Fixture) -> None:
    user = given.user()
    held = claim(given, user)
    expiry = "select lease_expires_at from voice_clone.idempotency_keys"
    before = given.truth(expiry)["lease_expires_at"]
    async with Pool(DatabaseSettings(url=given.database.service)) as pool:
        renewing = asyncio.create_task(renew(pool, msgspec.convert({**held, "body": None}, KeyClaim)))
        async with asyncio.timeout(60):
            while given.truth(expiry)["lease_expires_at"] == before:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        keep_answer(given, held)
        async with asyncio.timeout(60):
            await renewing


def test_the_keys_of_one_user_are_bounded_and_so_is_an_answer(given: Fixture) -> None:
    user, other = given.user(), given.user()
    given.superuser.execute(
        "insert into voice_clone.idempotency_keys (user_id, key, fingerprint, lease_expires_at)"
        " select %s, n::text, '', now() from generate_series(1, 1000) n",
        (user,),
    )
    with pytest.raises(DatabaseError) as refused:
        claim(given, user)
    assert refused.value.sqlstate == "VC008"
    assert json.loads(refused.value.diag.message_detail or "")["code"] == "too_many_idempotency_keys"
    assert claim(given, user, "7", b"")["epoch"] == 2, "a key that is kept already"
    held = claim(given, other)
    with pytest.raises(psycopg.errors.CheckViolation):
        given.one(
            "select voice_clone.keep_idempotent_answer(%s, %s, 201, '[]'::jsonb, %s)",
            held["id"], held["epoch"], b"x" * 65_537,
        )  # fmt: skip
