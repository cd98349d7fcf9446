"""The operator's list of orphans: its output, and the mismatches that --reconcile finds."""

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from backend.providers.base import EnrollRequest, new_label
from backend.providers.qwen.adapter import Qwen
from backend.web.http_client import HttpClient
from tests.backend.storages import failing_storage, saying
from tests.fixture import Fixture
from tests.preloaded import command
from tests.simulators import QWEN_KEY, BytesSample, Simulator, simulator, spoken_sample

REGION = "singapore"


@pytest.fixture(scope="module")
def all_providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest.fixture
def providers(all_providers: Simulator) -> Simulator:
    all_providers.reset()
    return all_providers


async def run(url: str, *arguments: str, **settings: str) -> tuple[int | None, str]:
    env = os.environ | {"DATABASE_URL": url, "COLUMNS": "240", **settings}
    done = await asyncio.to_thread(command, "orphans", *arguments, env=env)
    return done.returncode, done.stdout + done.stderr


LOST = "select array_agg(id::text) as voices from public.voices where lost_at is not null"


def make_old(given: Fixture) -> None:
    """As if each voice had been made two hours ago."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set ready_at = ready_at - interval '2 hours'"
        )


async def reconcile(
    given: Fixture, providers: Simulator, *arguments: str
) -> tuple[int | None, dict[str, Any]]:
    async with failing_storage(saying(200, b"[]")) as storage:
        code, output = await run(
            given.database.service, "--json", "--reconcile", *arguments,
            SUPABASE_URL=storage,
            SUPABASE_SECRET_KEY="sb_secret_of_this_very_test",
            SUPABASE_JWT_SECRET="a secret of more than thirty-two letters",
            INTERNAL_TOKEN="internal-token-of-forty-letters-or-so-00",
            QWEN_API_KEY=QWEN_KEY,
            QWEN_REGION=REGION,
            QWEN_BASE_URL=f"{providers.url}/qwen/{REGION}",
        )  # fmt: skip
    return code, json.loads(output)


async def make_voice(providers: Simulator, label: str) -> str:
    async with HttpClient() as http:
        sample = BytesSample(spoken_sample(4.0))
        request = EnrollRequest(label=label, name="Ada", language="en", transcript=None, sample=sample)
        adapter = Qwen(providers.qwen(REGION, send_sample_as="data_url"), http)
        return (await adapter.enroll(request)).provider_voice_id


class Enrollment:
    """An attempt at the simulated Qwen, its enrollment intended."""

    def __init__(self, given: Fixture) -> None:
        self.given = given
        self.user = given.user()
        self.consent = given.consent(self.user)
        self.attempt = given.open(self.user, None, self.consent)
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = 'qwen', region = %s where id = %s",
            (REGION, self.attempt),
        )
        given.queue(self.attempt, self.user)
        self.epoch = given.claim(self.attempt)["lease_epoch"]
        self.label = new_label()
        self.id: UUID = given.one(
            "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60) as id",
            self.attempt, self.epoch, self.label,
        )["id"]  # fmt: skip

    def attach(self, voice: str) -> None:
        self.given.one(
            "select * from voice_clone.attach_voice(%s, %s, %s, %s, 'model-1', 'request-1',"
            " null, null, false)",
            self.attempt, self.epoch, self.id, voice,
        )  # fmt: skip

    def orphan(self, voice: str) -> None:
        self.given.one("select * from voice_clone.revoke_consent(%s, %s)", self.consent, self.user)
        self.given.one(
            "select voice_clone.report_enrollment(%s, %s, 'm', false, 'r', null) as status", self.id, voice
        )

    def close(self) -> None:
        self.given.one(
            "select voice_clone.resolve_enrollment(%s, %s, 'closed', 'never_made', null, 0)",
            self.id,
            self.epoch,
        )


async def test_the_orphans_are_listed_with_when_they_are_removed(given: Fixture) -> None:
    assert await run(given.database.service) == (0, "Orphans: none.\n")
    assert await run(given.database.service, "--json") == (0, '{"orphans":[]}\n')
    orphan = Enrollment(given)
    orphan.orphan("the-voice")
    code, output = await run(given.database.postgres, "--json")
    (listed,) = json.loads(output)["orphans"]
    assert (code, listed["provider_voice_id"], listed["enrollment_id"]) == (0, "the-voice", str(orphan.id))
    assert (listed["status"], listed["cancel_reason"]) == ("orphaned", "consent_revoked")
    assert listed["removal_due_at"] == listed["orphaned_at"], "what is revoked is removed at once"
    code, output = await run(given.database.service)
    assert code == 0
    for text in ("the-voice", "qwen", REGION, "consent_revoked", orphan.label):
        assert text in output


async def test_what_the_provider_lists_and_nothing_here_knows_is_found(
    given: Fixture, providers: Simulator
) -> None:
    owned, orphaned, closed, running = (Enrollment(given) for _ in range(4))
    owned.attach(await make_voice(providers, owned.label))
    orphaned.orphan(await make_voice(providers, orphaned.label))
    closed.close()
    late = await make_voice(providers, closed.label)
    await make_voice(providers, running.label)  # its worker does not know its id yet
    strange = await make_voice(providers, new_label())
    twin = await make_voice(providers, owned.label)
    code, report = await reconcile(given, providers)
    assert code == 0
    unknown = {voice["provider_voice_id"]: voice["enrollment_status"] for voice in report["unknown"]}
    assert unknown == {strange: None, late: "closed", twin: "attached"}
    assert [each["enrollment_id"] for each in report["orphans"]] == [str(orphaned.id)]
    assert report["missing"] == []
    closed.orphan(late)  # as the runbook says
    _, report = await reconcile(given, providers)
    assert {voice["provider_voice_id"] for voice in report["unknown"]} == {strange, twin}
    assert {each["enrollment_id"] for each in report["orphans"]} == {str(orphaned.id), str(closed.id)}


async def test_a_voice_that_its_provider_has_lost_is_found(given: Fixture, providers: Simulator) -> None:
    lost, deleted, kept = (Enrollment(given) for _ in range(3))
    lost.attach("qwen-tts-vc-gone-voice-1")
    deleted.attach("qwen-tts-vc-gone-voice-2")
    given.one(
        "select voice_clone.delete_voice(%s, %s)", given.attempt(deleted.attempt)["voice_id"], deleted.user
    )
    kept.attach(await make_voice(providers, kept.label))
    code, report = await reconcile(given, providers)
    assert (code, report["unknown"]) == (0, [])
    assert [each["attempt_id"] for each in report["missing"]] == [str(lost.attempt)]
    assert (await reconcile(given, providers, "--lose-missing"))[1]["lost"] == 0, "its list may lag"
    make_old(given)
    assert (await reconcile(given, providers, "--lose-missing"))[1]["lost"] == 1
    gone = given.truth(LOST)["voices"]
    assert gone == [str(given.attempt(lost.attempt)["voice_id"])]
    assert (await reconcile(given, providers, "--lose-missing"))[1]["missing"] == []


async def test_where_all_voices_seem_to_be_missing_none_is_closed(
    given: Fixture, providers: Simulator
) -> None:
    for number in range(3):
        Enrollment(given).attach(f"qwen-tts-vc-gone-voice-{number}")
    make_old(given)
    code, report = await reconcile(given, providers, "--lose-missing")
    assert (code, len(report["missing"]), report["lost"]) == (1, 3, 0)
    assert "is it the key of this account?" in report["errors"]["qwen"]
    assert given.truth(LOST)["voices"] is None
    code, output = await run(given.database.service, "--lose-missing")
    assert (code, "--lose-missing needs --reconcile" in output) == (2, True)


async def test_a_provider_that_cannot_be_asked_is_named_and_keeps_no_other_from_it(
    given: Fixture, providers: Simulator
) -> None:
    providers.fault("qwen", "list", "unavailable", times=None)
    code, report = await reconcile(given, providers)
    assert code == 1
    assert [*report["errors"]] == ["qwen"]
    assert "provider_unavailable" in report["errors"]["qwen"]


async def test_what_lies_where_these_settings_do_not_look_is_listed(
    given: Fixture, providers: Simulator
) -> None:
    """Two in another region, one in another account, and one here."""
    in_region, also, in_account, here = (Enrollment(given) for _ in range(4))
    here.attach(await make_voice(providers, here.label))
    elsewhere = "update voice_clone.enrollments set region = %s, account = %s where id = any(%s)"
    given.superuser.execute(elsewhere, ("beijing", "", [in_region.id, also.id]))
    given.superuser.execute(elsewhere, (REGION, "of-another-key", [in_account.id]))
    code, report = await reconcile(given, providers)
    assert (code, report["unknown"], report["missing"]) == (0, [], [])
    found = [
        (row["region"], row["account"], row["enrollments"], row["reason"]) for row in report["elsewhere"]
    ]
    assert found == [
        ("beijing", "", 2, "provider_region_changed"),
        (REGION, "of-another-key", 1, "provider_account_changed"),
    ]


async def test_without_an_address_it_says_what_to_set(given: Fixture) -> None:
    code, output = await run("")
    assert code == 2
    assert "DATABASE_URL" in output
    code, output = await run(given.database.service, "--reconcile", SUPABASE_URL="", INTERNAL_TOKEN="")
    assert code == 1
    assert "INTERNAL_TOKEN is missing" in output
