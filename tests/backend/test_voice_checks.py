"""Checks of voices at the simulated providers: what is gone, what is an outage, and what proves nothing."""

import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backend.lifecycle.voice_checks import check_voices
from backend.providers.base import VoiceProvider, new_label
from backend.queues.outcomes import Done, Snooze
from tests.backend.adapters import enrolling
from tests.backend.storages import embedded_storage
from tests.backend.workers import Workers, workers
from tests.database.test_voice_checks import age, become_due
from tests.fixture import Fixture, Row
from tests.simulators import CARTESIA_KEY, QWEN_KEY, BytesSample, Simulator, simulator, spoken_sample

PROVIDERS = ["qwen", "elevenlabs", "cartesia"]


class Checked:
    """Voices of one provider, and the check of their account."""

    def __init__(self, worker: Workers, providers: Simulator, name: str) -> None:
        self.given: Fixture = worker.given
        self.worker = worker
        self.providers = providers
        self.name = name
        self.sample = spoken_sample(4.0)

    @property
    def provider(self) -> VoiceProvider:
        return self.worker.context.providers[self.name]

    async def add(self, count: int = 1) -> list[tuple[UUID, str]]:
        """Attempts that are ready, with the ids of their voices at the provider, in the order of a round."""
        made = [await self.add_one() for _ in range(count)]
        order = {row["attempt_id"]: row["id"] for row in self.voices()}
        return sorted(made, key=lambda each: order[each[0]])

    def voices(self) -> list[Row]:
        return self.given.superuser.execute("select * from public.voices").fetchall()

    async def add_one(self) -> tuple[UUID, str]:
        given, user, label = self.given, self.given.user(), new_label()
        attempt = given.open(user, given.reflection(user))
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = %s, region = %s where id = %s",
            (self.name, self.provider.region or "", attempt),
        )
        given.queue(attempt, user)
        epoch = given.claim(attempt)["lease_epoch"]
        enrollment = given.one(
            "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60, %s) as id",
            attempt, epoch, label, self.provider.accounts[0],
        )["id"]  # fmt: skip
        made = await self.provider.enroll(enrolling(label, BytesSample(self.sample)))
        given.one(
            "select * from voice_clone.attach_voice(%s, %s, %s, %s, %s, 'r', '{}'::jsonb, null, false)",
            attempt, epoch, enrollment, made.provider_voice_id, made.target_model,
        )  # fmt: skip
        age(given, attempt)
        return attempt, made.provider_voice_id

    def account(self) -> Row:
        return self.given.truth("select * from voice_clone.voice_checks where provider = %s", self.name)

    async def check(self) -> object:
        become_due(self.given)
        return await check_voices(self.worker.context, self.account()["id"])

    async def round(self) -> None:
        """Until each voice was asked for."""
        for _ in range(20):
            if await self.check() != Done("checked") or self.account()["after_voice"] is None:
                return
        raise AssertionError("the round does not end")

    def status(self, attempt: UUID) -> tuple[str, str | None]:
        row = self.given.attempt(attempt)
        return row["status"], row["error_code"]

    def calls(self) -> int:
        return sum(len(self.providers.calls(self.name, each)) for each in ("get", "list"))


@pytest.fixture(scope="module")
def all_providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest_asyncio.fixture(params=PROVIDERS)
async def checked(
    given: Fixture, all_providers: Simulator, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Checked]:
    all_providers.reset()
    settings = {
        "QWEN_API_KEY": QWEN_KEY,
        "QWEN_REGION": "singapore",
        "QWEN_BASE_URL": f"{all_providers.url}/qwen/singapore",
        "CARTESIA_API_KEY": CARTESIA_KEY,
        "CARTESIA_BASE_URL": f"{all_providers.url}/cartesia",
        "VOICE_CHECKS_PER_MINUTE": "3",
    }
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, all_providers, storage.url, **settings) as worker,
    ):
        yield Checked(worker, all_providers, request.param)


async def test_a_voice_that_is_gone_closes_its_gate_and_no_other(checked: Checked) -> None:
    (gone, voice), (kept, _), (other, _) = await checked.add(3)
    await checked.round()
    assert checked.status(gone) == ("ready", None)
    assert checked.account()["complete_at"] is not None
    await checked.provider.delete(voice)
    await checked.round()
    assert checked.status(gone) == ("failed", "voice_lost")
    assert [checked.status(each) for each in (kept, other)] == [("ready", None)] * 2
    assert checked.account()["error_code"] is None


@pytest.mark.parametrize(
    "fault", ["internal_error", "unavailable", "bad_gateway", "wrong_key", "throttled", "garbled", "reset"]
)
async def test_what_the_provider_does_not_answer_changes_nothing(checked: Checked, fault: str) -> None:
    (attempt, voice), _ = await checked.add(2)
    await checked.provider.delete(voice)
    for operation in ("get", "list"):
        checked.providers.fault(checked.name, operation, fault, times=None)
    for _ in range(2):
        await checked.check()
    assert checked.status(attempt) == ("ready", None)
    assert checked.account()["complete_at"] is None
    checked.providers.clear_faults()
    await checked.round()
    assert checked.status(attempt) == ("failed", "voice_lost")


async def test_where_all_voices_are_missing_none_is_lost_and_the_account_says_so(checked: Checked) -> None:
    made = await checked.add(3)
    for _, voice in made:
        await checked.provider.delete(voice)
    assert await checked.check() == Done("all_voices_missing")
    assert [checked.status(attempt) for attempt, _ in made] == [("ready", None)] * 3
    assert (checked.account()["after_voice"], checked.account()["error_code"]) == (None, "all_voices_missing")


async def test_the_only_voice_is_lost_where_the_provider_lists_for_the_account(checked: Checked) -> None:
    ((attempt, voice),) = await checked.add()
    await checked.provider.delete(voice)
    await checked.check()
    assert checked.status(attempt) == ("failed", "voice_lost")


async def test_the_only_voice_of_an_account_without_a_name_is_not_lost(checked: Checked) -> None:
    ((attempt, voice),) = await checked.add()
    checked.given.superuser.execute("update voice_clone.voice_checks set account = ''")
    checked.given.superuser.execute("update public.voices set provider_account = ''")
    await checked.provider.delete(voice)
    assert await checked.check() == Done("all_voices_missing")
    assert checked.status(attempt) == ("ready", None)


async def test_another_account_or_region_is_not_asked(checked: Checked) -> None:
    ((attempt, voice),) = await checked.add()
    await checked.provider.delete(voice)
    before = checked.calls()
    move = "update voice_clone.voice_checks set account = %s, region = coalesce(%s, region)"
    for place in (("elsewhere", None), ("", "elsewhere")):
        checked.given.superuser.execute(move, place)
        outcome = await checked.check()
        assert outcome in (Done("provider_account_changed"), Done("provider_region_changed"))
    assert checked.calls() == before
    assert checked.status(attempt) == ("ready", None)


async def test_a_small_account_costs_few_calls_and_a_busy_one_none(checked: Checked) -> None:
    await checked.add(3)
    before = checked.calls()
    await checked.check()
    assert checked.calls() == before + 1, "one voice, or one page for all"
    checked.given.superuser.execute(
        "update voice_clone.voice_checks set due_at = now(), lease_expires_at = now() + interval '1 m'"
    )
    assert isinstance(await check_voices(checked.worker.context, checked.account()["id"]), Snooze)
    assert checked.calls() == before + 1


async def test_a_setting_caps_what_is_asked_at_once(checked: Checked) -> None:
    await checked.add(4)
    checked.given.superuser.execute(
        "update voice_clone.timeouts set value = '1 m' where name = 'voice_check'"  # all are due at once
    )
    before = checked.calls()
    await checked.check()
    assert checked.calls() == before + (1 if checked.provider.lists_only else 3)


def silent_for(checked: Checked, days: int, *attempts: UUID) -> None:
    """As if these voices had been made so long ago, and had not spoken."""
    checked.given.superuser.execute(
        "update public.voices set created_at = now() - make_interval(days => %s), canary_at = null,"
        " spoken_at = null where attempt_id = any(%s)",
        (days, list(attempts)),
    )


def speeches(checked: Checked, voice: str | None = None) -> list[dict[str, Any]]:
    return checked.providers.calls(checked.name, "speech", voice)


async def test_a_voice_that_has_not_spoken_for_long_says_a_word_and_is_done_with(checked: Checked) -> None:
    (old, voice), _ = await checked.add(2)
    silent_for(checked, 200, old)
    await checked.round()
    (call,) = speeches(checked)
    assert voice in call["label"]
    row = next(each for each in checked.voices() if each["attempt_id"] == old)
    assert row["spoken_at"] > row["canary_at"] - timedelta(minutes=1)
    await checked.round()
    assert (len(speeches(checked)), checked.account()["silent"]) == (1, 0)


@pytest.mark.parametrize("checked", ["qwen"], indirect=True)
async def test_a_voice_that_is_refused_is_silent_and_keeps_its_gate(checked: Checked) -> None:
    (old, voice), (other, _) = await checked.add(2)
    silent_for(checked, 200, old, other)
    change = "update public.voices set provider_target_model = %s where attempt_id = %s"
    checked.given.superuser.execute(change, ("a model that is gone", old))
    for _ in range(2):
        await checked.round()
    assert len(speeches(checked, voice)) == 1
    assert checked.account()["silent"] == 1
    assert [checked.status(each) for each in (old, other)] == [("ready", None)] * 2
    checked.given.superuser.execute(change, (checked.provider.target_model, old))
    silent_for(checked, 200, old)
    for _ in range(2):
        await checked.round()
    assert checked.account()["silent"] == 0


@pytest.mark.parametrize("fault", ["unavailable", "throttled", "wrong_key"])
async def test_an_outage_stops_canaries_and_says_nothing_of_a_voice(checked: Checked, fault: str) -> None:
    made = await checked.add(3)
    silent_for(checked, 200, *[attempt for attempt, _ in made])
    checked.providers.fault(checked.name, "speech", fault, times=None)
    checked.given.superuser.execute(
        "update voice_clone.timeouts set value = '1 m' where name = 'voice_check'"  # all in one group
    )
    await checked.check()
    assert len(speeches(checked)) == 1
    assert checked.account()["silent"] == 0
    assert {row["canary_at"] for row in checked.voices()} == {None}
    checked.providers.clear_faults()
    for _ in range(2):  # the first may end a round that began in the outage
        await checked.round()
    assert len(speeches(checked)) == 4


@pytest.mark.parametrize("checked", ["qwen"], indirect=True)
async def test_a_voice_is_kept_where_what_is_not_used_is_deleted(given: Fixture, checked: Checked) -> None:
    """Qwen deletes a voice a year after it was made or used last. The others keep what they have."""
    (kept, voice), (late, _) = await checked.add(2)
    silent_for(checked, 280, kept)
    given.superuser.execute("update voice_clone.timeouts set value = '2 years' where name = 'canary'")
    since = time.time()
    await checked.round()
    assert len(speeches(checked, voice)) == 1
    assert len(checked.providers.delete_unused(since)) == 1, "the other one, which was not near its end here"
    await checked.round()
    assert [checked.status(each) for each in (kept, late)] == [("ready", None), ("failed", "voice_lost")]
