"""Checks of voices: an account's voices in rounds, and what an answer may conclude."""

from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import custom_voice, retry
from tests.database.test_lost_voices import gate, lose, voice_of
from tests.fixture import Fixture, Row

CLAIM: LiteralString = (
    "select c.*, to_jsonb(w) as work from voice_clone.claim_voice_check(%s) c"
    " left join lateral voice_clone.claimed_voice_check(%s) w on c.outcome = 'claimed'"
)
RECORD = "select voice_clone.record_voice_check(%s, %s, %s, %s, %s, 0, null)"
TO_CHECK = "select * from voice_clone.voices_to_check('local', '', '', %s, %s)"


def ready(given: Fixture, count: int = 1) -> list[UUID]:
    attempts = [given.queued(given.user(), None) for _ in range(count)]
    for each in attempts:
        given.enroll(each)
    return attempts


def account(given: Fixture) -> Row:
    return given.truth("select * from voice_clone.voice_checks")


def become_due(given: Fixture) -> None:
    given.superuser.execute(
        "update voice_clone.voice_checks set due_at = now(), sweep_at = now(), lease_expires_at = null"
    )


def age(given: Fixture, attempt: UUID) -> None:
    """As if the voice had been made two hours ago."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set ready_at = ready_at - interval '2 h' where id = %s",
            (attempt,),
        )


def claim(given: Fixture) -> Row:
    id_ = account(given)["id"]
    return given.one(CLAIM, id_, id_)


def record(given: Fixture, epoch: int, after: UUID | None, code: str | None = None) -> None:
    given.one(RECORD, account(given)["id"], epoch, after, code, None)


def lose_checked(given: Fixture, epoch: int, voice: str) -> int:
    sql = "select voice_clone.lose_checked_voice(%s, %s, %s) as lost"
    return given.one(sql, account(given)["id"], epoch, voice)["lost"]


def sweep(given: Fixture) -> int:
    return given.truth("select voice_clone.sweep_voice_checks(100) as count")["count"]


def test_an_account_has_one_row_and_its_first_check_is_not_at_once(given: Fixture) -> None:
    ready(given, 3)
    assert sweep(given) == 0
    assert claim(given)["outcome"] == "not_due"
    become_due(given)
    assert sweep(given) == 1
    (message,) = given.messages("voice_checks")
    assert message["message"]["id"] == str(account(given)["id"])
    assert sweep(given) == 0, "it is on its way"


def test_a_voice_of_another_account_makes_another_row(given: Fixture) -> None:
    (attempt,) = ready(given)
    given.superuser.execute(
        "update public.voices set provider_account = 'there' where attempt_id = %s", (attempt,)
    )
    rows = given.superuser.execute("select account from voice_clone.voice_checks order by 1").fetchall()
    assert [row["account"] for row in rows] == ["", "there"]


def test_a_round_goes_on_behind_the_last_voice_that_was_answered_for(given: Fixture) -> None:
    voices = sorted(voice_of(given, each)["id"] for each in ready(given, 4))
    become_due(given)
    first = claim(given)
    assert (first["outcome"], first["work"]["voices"], first["work"]["after_voice"]) == ("claimed", 4, None)
    wanted = given.service.execute(TO_CHECK.encode(), (None, 2)).fetchall()
    assert [row["voice_id"] for row in wanted] == voices[:2]
    record(given, first["lease_epoch"], voices[1])
    assert account(given)["complete_at"] is None
    become_due(given)
    second = claim(given)
    assert second["work"]["after_voice"] == str(voices[1])
    rest = given.service.execute(TO_CHECK.encode(), (voices[1], 5)).fetchall()
    assert [row["voice_id"] for row in rest] == voices[2:]
    record(given, second["lease_epoch"], None)
    assert (account(given)["after_voice"], account(given)["complete_at"]) == (
        None, account(given)["round_started_at"],
    )  # fmt: skip


def test_a_round_takes_the_interval_however_many_voices_there_are(given: Fixture) -> None:
    ready(given, 2)
    become_due(given)
    record(given, claim(given)["lease_epoch"], None)
    pause = "select due_at - now() > interval '11 h' as is_long, due_at - now() < interval '13 h' as is_short"
    told = given.truth(f"{pause} from voice_clone.voice_checks")
    assert told == {"is_long": True, "is_short": True}, "two voices in a day"
    wanted = "select * from voice_clone.claimed_voice_check(%s)"
    for voices, expected in ((10, 1), (1440, 1), (14_400, 10), (100_000, 70)):
        given.superuser.execute("update voice_clone.voice_checks set voices = %s", (voices,))
        assert given.one(wanted, account(given)["id"])["wanted"] == expected


def test_a_voice_that_the_provider_does_not_have_closes_its_gate(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    age(given, attempt)
    become_due(given)
    voice = voice_of(given, attempt)["provider_voice_id"]
    assert lose_checked(given, claim(given)["lease_epoch"], voice) == 1
    assert gate(given, reflection, user) == ["clone_failed", "voice_lost"]


def test_a_new_voice_is_not_lost_where_the_provider_does_not_show_it_yet(given: Fixture) -> None:
    (attempt,) = ready(given)
    become_due(given)
    voice = voice_of(given, attempt)["provider_voice_id"]
    assert lose_checked(given, claim(given)["lease_epoch"], voice) == 0
    assert given.attempt(attempt)["status"] == "ready"


def test_an_old_answer_does_not_close_a_voice_that_was_made_again_since(given: Fixture) -> None:
    """The id at the provider is the same: that of a custom voice which is there again."""
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'new_voice'")
    user = given.user()
    reflection = given.reflection(user)
    attempt = custom_voice(given, user, reflection)
    become_due(given)
    claimed = claim(given)
    lose(given, attempt)
    retry(given, reflection, user)
    given.one(
        "select * from voice_clone.attach_custom_voice(%s, %s, null, null, false)",
        attempt, given.claim(attempt)["lease_epoch"],
    )  # fmt: skip
    assert lose_checked(given, claimed["lease_epoch"], "stock-1") == 0
    assert given.attempt(attempt)["status"] == "ready"
    assert voice_of(given, attempt)["lost_at"] is None


def test_what_was_made_again_is_new_for_the_operators_command_too(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    given.superuser.execute(
        "update public.voices set created_at = created_at - interval '2 h' where attempt_id = %s", (attempt,)
    )
    lose(given, attempt)
    retry(given, reflection, user)
    given.enroll(attempt)
    kept = given.one("select * from voice_clone.undeleted_voices('local', '')")
    assert (kept["attempt_id"], kept["is_new"]) == (attempt, True)


def test_a_check_has_one_worker_and_a_stale_one_writes_nothing(given: Fixture) -> None:
    (attempt,) = ready(given)
    age(given, attempt)
    become_due(given)
    first = claim(given)
    assert claim(given)["outcome"] == "busy"
    become_due(given)
    second = claim(given)
    voice = voice_of(given, attempt)["provider_voice_id"]
    for stale in (
        lambda: record(given, first["lease_epoch"], None),
        lambda: lose_checked(given, first["lease_epoch"], voice),
    ):  # fmt: skip
        with pytest.raises(psycopg.Error) as lost:
            stale()
        assert lost.value.sqlstate == "VC002"
    assert given.attempt(attempt)["status"] == "ready"
    record(given, second["lease_epoch"], None)
    assert claim(given)["outcome"] == "not_due"
    assert given.one("select * from voice_clone.claim_voice_check(%s)", uuid4())["outcome"] == "gone"


def test_an_error_waits_longer_each_time_and_the_third_at_one_voice_goes_on_behind_it(given: Fixture) -> None:
    voice = voice_of(given, ready(given)[0])["id"]
    waits = []
    for _ in range(3):
        become_due(given)
        epoch = claim(given)["lease_epoch"]
        given.one(RECORD, account(given)["id"], epoch, None, "provider_unavailable", voice)
        wait = given.truth(
            "select extract(epoch from due_at - now())::int as s from voice_clone.voice_checks"
        )
        waits.append(wait["s"])
    assert waits[0] < waits[1]
    row = account(given)
    assert (row["after_voice"], row["error_code"], row["failures"]) == (voice, "provider_unavailable", 0)
    state = given.one("select * from voice_clone.voice_checks_state()")
    assert (state["voices"], state["error_code"]) == (1, "provider_unavailable")
    stopped = given.one(
        "select * from voice_clone.metric_samples() where metric = 'likeness_voice_checks_stopped'"
    )
    assert stopped["labels"] == {"provider": "local", "region": "", "code": "provider_unavailable"}


def test_an_account_whose_voices_are_all_missing_is_not_passed_over(given: Fixture) -> None:
    first = voice_of(given, ready(given)[0])["id"]
    for code in (None, *["all_voices_missing"] * 3):
        become_due(given)
        record(given, claim(given)["lease_epoch"], first, code)
    row = account(given)
    assert (row["after_voice"], row["complete_at"], row["error_code"]) == (first, None, "all_voices_missing")


def test_no_interval_means_no_check(given: Fixture) -> None:
    ready(given)
    become_due(given)
    given.superuser.execute("update voice_clone.timeouts set value = null where name = 'voice_check'")
    assert sweep(given) == 0
    assert claim(given)["outcome"] == "switched_off"
    assert given.service.execute("select * from voice_clone.voice_checks_state()").fetchall() == []


MUTANTS = {
    "an answer that is about what was made since": (
        "lose_checked_voice", "c.claimed_at - voice_clone.timeout('new_voice')", "'infinity'",
        test_an_old_answer_does_not_close_a_voice_that_was_made_again_since,
    ),
    "an answer without the margin of a new voice": (
        "lose_checked_voice", "c.claimed_at - voice_clone.timeout('new_voice')", "c.claimed_at",
        test_a_new_voice_is_not_lost_where_the_provider_does_not_show_it_yet,
    ),
    "a loss of whatever age": (
        "lose_voice", "and a.ready_at > p_before", "and false",
        test_an_old_answer_does_not_close_a_voice_that_was_made_again_since,
    ),
    "a lease that another worker took": (
        "require_voice_check", "and x.lease_epoch = p_epoch", "",
        test_a_check_has_one_worker_and_a_stale_one_writes_nothing,
    ),
    "a claim without a lease": (
        "claim_voice_check", "c.lease_expires_at > now()", "false",
        test_a_check_has_one_worker_and_a_stale_one_writes_nothing,
    ),
    "a round that is complete at its first voices": (
        "record_voice_check", "p_error_code is null and p_after is null", "p_error_code is null",
        test_a_round_goes_on_behind_the_last_voice_that_was_answered_for,
    ),
    "a stop that is passed over whatever its reason": (
        "record_voice_check", "c.failures >= 3 and p_stopped_at is not null", "c.failures >= 3",
        test_an_account_whose_voices_are_all_missing_is_not_passed_over,
    ),
    "a check that stops at one voice for ever": (
        "record_voice_check", "c.failures >= 3", "false",
        test_an_error_waits_longer_each_time_and_the_third_at_one_voice_goes_on_behind_it,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_found(given: Fixture, mutant: str) -> None:
    function, old, new, test = MUTANTS[mutant]
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises((Exception, pytest.fail.Exception)):  # a statement fails, or the test
        test(given)
