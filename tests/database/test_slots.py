"""A provider's slots: one is reserved before the upload, by one attempt, and released again."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixture import Fixture


def limit(given: Fixture, slots: int | None, provider: str = "local", region: str = "") -> None:
    given.one("select voice_clone.set_slots(%s, %s, %s)", provider, region, slots)


def taken(given: Fixture) -> int:
    return given.truth("select voice_clone.slots_taken('local', '', 1000) as count")["count"]


def refusal(given: Fixture, user: UUID) -> psycopg.errors.Diagnostic:
    with pytest.raises(psycopg.Error) as caught:
        given.open(user, None)
    assert caught.value.sqlstate == "VC007"
    return caught.value.diag


def said(diagnostic: psycopg.errors.Diagnostic) -> dict[str, Any]:
    assert diagnostic.message_detail is not None
    return json.loads(diagnostic.message_detail)


def fail(given: Fixture, attempt: UUID) -> int:
    epoch = given.claim(attempt)["lease_epoch"]
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'bad', 'Bad.', null, null)", attempt, epoch)
    return epoch


def retry(given: Fixture, attempt: UUID) -> None:
    given.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued', error_code = null,"
        " error_message = null where id = %s",
        (attempt,),
    )


def test_without_a_limit_nothing_is_counted_or_locked(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    with given.service.transaction():
        given.open(user, None, consent)
        own = given.truth(locks)["count"]
    limit(given, 5)
    with given.service.transaction():
        given.open(user, None, consent)
        assert given.truth(locks)["count"] == own + 1


def test_an_opened_upload_takes_a_place_and_the_next_is_refused(given: Fixture) -> None:
    limit(given, 1)
    user = given.user()
    given.open(user, None)
    diagnostic = refusal(given, user)
    detail = said(diagnostic)
    assert (detail["code"], detail["provider"], detail["limit"]) == ("provider_full", "local", 1)
    assert "expires" in (diagnostic.message_hint or "")
    assert detail["free_at"]
    assert given.truth("select count(*) from public.voice_samples")["count"] == 1, (
        "nothing is left of the refused"
    )


def test_another_provider_or_region_has_slots_of_its_own(given: Fixture) -> None:
    limit(given, 0, "local", "elsewhere")
    limit(given, 0, "qwen")
    given.open(given.user(), None)


def test_a_limit_may_be_raised_and_lifted(given: Fixture) -> None:
    limit(given, 0)
    user = given.user()
    refusal(given, user)
    limit(given, 1)
    given.open(user, None)
    refusal(given, user)
    limit(given, None)
    given.open(user, None)


def test_from_upload_to_voice_it_is_one_place(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    counts = [taken(given)]
    given.queue(attempt, user)
    counts.append(taken(given))
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    counts.append(taken(given))
    given.attach(attempt, epoch, enrollment)
    counts.append(taken(given))
    assert counts == [1, 1, 1, 1]


def test_a_voice_in_use_keeps_its_place(given: Fixture) -> None:
    user = given.user()
    given.enroll(given.queued(user, None))
    limit(given, 1)
    diagnostic = refusal(given, user)
    assert "free_at" not in said(diagnostic)
    assert "removed there" in (diagnostic.message_hint or "")


def test_an_orphan_keeps_its_place_until_it_is_removed(given: Fixture) -> None:
    limit(given, 1)
    user = given.user()
    attempt = given.queued(user, None)
    enrollment = given.intend(attempt, given.claim(attempt)["lease_epoch"])
    given.truth("select voice_clone.cancel_attempts('reset', p_attempts => %s)", [attempt])
    refusal(given, user)
    given.one("select voice_clone.end_cleanup(%s, 'orphaned', 'voice', 'm', null)", enrollment)
    assert "orphan" in (refusal(given, user).message_hint or "")
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'orphan_grace'")
    assert given.one("select task from voice_clone.begin_cleanup(%s)", enrollment)["task"] == "remove"
    given.open(user, None)  # it waits for the removal
    refusal(given, user)
    given.one("select voice_clone.end_cleanup(%s, 'removed', null, null, null)", enrollment)
    assert taken(given) == 1


def test_an_attempt_that_comes_to_nothing_gives_its_place_up(given: Fixture) -> None:
    limit(given, 1)
    user = given.user()
    attempt = given.queued(user, None)
    refusal(given, user)
    fail(given, attempt)
    given.open(user, None)


def test_a_failed_attempt_takes_a_place_again_or_stays_failed(given: Fixture) -> None:
    limit(given, 1)
    user = given.user()
    attempt = given.queued(user, None)
    fail(given, attempt)
    retry(given, attempt)
    fail(given, attempt)
    given.open(user, None)
    with pytest.raises(psycopg.Error) as caught:
        retry(given, attempt)
    assert caught.value.sqlstate == "VC007"
    assert given.attempt(attempt)["status"] == "failed"


def test_a_failed_attempt_whose_outcome_is_open_has_kept_its_place(given: Fixture) -> None:
    limit(given, 1)
    user = given.user()
    attempt = given.queued(user, None)
    epoch = given.claim(attempt)["lease_epoch"]
    given.intend(attempt, epoch)
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'bad', 'Bad.', null, null)", attempt, epoch)
    refusal(given, user)
    retry(given, attempt)


def test_a_sample_that_is_cloned_again_takes_a_place(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    sample = given.attempt(given.queued(user, reflection))["sample_id"]
    limit(given, 1)
    with pytest.raises(psycopg.Error) as caught:
        given.one(
            "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
            uuid4(), user, sample, reflection,
        )  # fmt: skip
    assert caught.value.sqlstate == "VC007"
    assert given.truth("select count(*) from public.voice_clone_attempts")["count"] == 1


def test_opens_at_once_take_as_many_places_as_there_are(given: Fixture) -> None:
    limit(given, 5)
    users = [given.user() for _ in range(20)]
    consents = [given.consent(user) for user in users]

    def open_one(user: UUID, consent: UUID) -> str:
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            attempt = uuid4()
            try:
                connection.execute(
                    "select voice_clone.open_attempt"
                    "(%s, %s, %s, null, 'local', '', %s, 'audio/wav', 9, true)",
                    (attempt, user, consent, f"{attempt}.wav"),
                )
            except psycopg.Error as error:
                return str(error.sqlstate)
            return "opened"

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(open_one, users, consents))
    assert sorted(outcomes) == ["VC007"] * 15 + ["opened"] * 5
    assert taken(given) == 5


def deleted_voice(given: Fixture, account: str) -> UUID:
    """Made in this account. Returns its enrollment."""
    user = given.user()
    attempt = given.queued(user, None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.one(
        "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60, %s) as id",
        attempt, epoch, uuid4().hex[:16], account,
    )["id"]  # fmt: skip
    given.attach(attempt, epoch, enrollment)
    given.one("select voice_clone.delete_voice(%s, %s)", given.attempt(attempt)["voice_id"], user)
    return enrollment


def is_removed(given: Fixture, enrollment: UUID) -> bool:
    row = given.truth("select status from voice_clone.enrollments where id = %s", enrollment)
    return row["status"] == "orphaned"


def limit_accounts(given: Fixture, slots: int, *accounts: str) -> None:
    given.one("select voice_clone.set_slots('local', '', %s, %s)", slots, list(accounts))


@pytest.mark.parametrize("account", ["here", "", "elsewhere"])
def test_only_a_deleted_voice_of_the_same_account_makes_room(given: Fixture, account: str) -> None:
    elsewhere, user = deleted_voice(given, "elsewhere"), given.user()
    enrollment = deleted_voice(given, account) if account != "elsewhere" else elsewhere
    limit_accounts(given, 1, "here")
    given.open(user, None)
    assert (is_removed(given, elsewhere), is_removed(given, enrollment)) == (False, account != "elsewhere")


@pytest.mark.parametrize("account", ["here", "", "elsewhere"])
def test_a_worker_waits_only_for_a_voice_that_leaves_the_same_account(given: Fixture, account: str) -> None:
    enrollment = deleted_voice(given, account)
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    wait = "select voice_clone.wait_for_slot(%s, %s, null, '{here}') as waits"
    assert (
        given.one(wait, attempt, epoch)["waits"] == is_removed(given, enrollment) == (account != "elsewhere")
    )


def test_a_voice_that_leaves_another_account_makes_no_room(given: Fixture) -> None:
    leaving = deleted_voice(given, "elsewhere")
    attempt, user = given.queued(given.user(), None), given.user()
    epoch = given.claim(attempt)["lease_epoch"]
    given.truth("select voice_clone.release_deleted_voices(1, '0')")
    assert is_removed(given, leaving)
    assert not given.one("select voice_clone.wait_for_slot(%s, %s, null, '{here}') as waits", attempt, epoch)[
        "waits"
    ]
    given.enroll(given.queued(user, None))
    limit_accounts(given, 1, "here")
    assert "free_at" not in said(refusal(given, user)), "the slot that becomes free is another account's"


def test_a_sample_that_may_be_refused_releases_nobodys_deleted_voice(given: Fixture) -> None:
    deleted, user = deleted_voice(given, "here"), given.user()
    consent = given.consent(user)
    limit_accounts(given, 1, "here")
    given.one("select voice_clone.check_opening(%s, %s, null, null, 'local', '')", user, consent)
    assert not is_removed(given, deleted), "until its sample has passed inspection"
    given.open(user, None, consent)
    assert is_removed(given, deleted)


@pytest.mark.parametrize("situation", ["full", "of another account", "leaving for another"])
def test_what_opening_refuses_for_a_slot_is_refused_before_the_sample_is_read(
    given: Fixture, situation: str
) -> None:
    user = given.user()
    consent = given.consent(user)
    if situation == "full":
        given.open(given.user(), None)
    elif situation == "of another account":
        deleted_voice(given, "elsewhere")
        given.open(given.user(), None)
    else:
        deleted_voice(given, "here")
    limit_accounts(given, 1, "here")
    if situation == "leaving for another":
        given.open(given.user(), None)
    with pytest.raises(psycopg.Error) as caught:
        given.one("select voice_clone.check_opening(%s, %s, null, null, 'local', '')", user, consent)
    before, opened = caught.value.diag, refusal(given, user)
    assert (caught.value.sqlstate, said(before)) == ("VC007", said(opened))
