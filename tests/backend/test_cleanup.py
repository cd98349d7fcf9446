"""Cleanups at the simulated providers: voices found, voices never made, and voices removed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from backend.providers.base import new_label
from backend.web.http_client import HttpClient
from scripts.local.supabase.postgres import Cluster
from tests.backend.adapters import ADAPTERS, enrolling
from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.clusters import cloned_database
from tests.fixture import Fixture, Row
from tests.simulators import (
    CARTESIA_KEY,
    ELEVENLABS_KEY,
    QWEN_KEY,
    BytesSample,
    Simulator,
    simulator,
    spoken_sample,
)

PROVIDERS = ["qwen", "elevenlabs", "cartesia"]
REGIONS = {"qwen": "singapore", "elevenlabs": "", "cartesia": ""}


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database:
        made = Fixture(database)
        yield made
        made.close()


@pytest.fixture(scope="module")
def all_providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest.fixture
def providers(all_providers: Simulator) -> Simulator:
    all_providers.reset()
    return all_providers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    given: Fixture, all_providers: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    settings = {
        "QWEN_API_KEY": QWEN_KEY,
        "QWEN_REGION": REGIONS["qwen"],
        "QWEN_BASE_URL": f"{all_providers.url}/qwen/{REGIONS['qwen']}",
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{all_providers.url}/elevenlabs",
        "CARTESIA_API_KEY": CARTESIA_KEY,
        "CARTESIA_BASE_URL": f"{all_providers.url}/cartesia",
    }
    logs = tmp_path_factory.mktemp("cleanup")
    async with served(logs, given.database.service, **settings) as running:
        yield running


class Scene:
    """One enrollment at a provider, and the worker that cleans it up."""

    def __init__(self, given: Fixture, service: Served, providers: Simulator, provider: str) -> None:
        self.given = given
        self.service = service
        self.providers = providers
        self.provider = provider
        self.user = given.user()
        self.consent = given.consent(self.user)
        self.attempt = given.open(self.user, None, self.consent)
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = %s, region = %s where id = %s",
            (provider, REGIONS[provider], self.attempt),
        )
        given.queue(self.attempt, self.user)
        self.epoch = given.claim(self.attempt)["lease_epoch"]
        self.label = new_label()
        self.enrollment: UUID = given.one(
            "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60) as id",
            self.attempt, self.epoch, self.label,
        )["id"]  # fmt: skip

    async def make_voice(self) -> str:
        """Create the voice, as a worker whose response was lost."""
        async with HttpClient() as http:
            adapter = ADAPTERS[self.provider](self.providers, http)
            request = enrolling(self.label, BytesSample(spoken_sample(4.0)))
            return (await adapter.enroll(request)).provider_voice_id

    def cancel(self) -> None:
        self.given.truth("select voice_clone.cancel_attempts('reset', p_attempts => %s)", [self.attempt])

    def settle(self) -> None:
        self.past("settles_at = now()")

    def end_grace(self) -> None:
        self.past("orphaned_at = orphaned_at - interval '25 h'")

    def past(self, change: LiteralString) -> None:
        """Move times back, without the triggers."""
        update: LiteralString = f"update voice_clone.enrollments set {change} where id = %s"  # noqa: S608
        with self.given.superuser.transaction():
            self.given.superuser.execute("set local session_replication_role = replica")
            self.given.superuser.execute(update, (self.enrollment,))

    async def clean_up(self, message: int | None = None) -> dict[str, Any]:
        answer = await self.service.http.post(
            f"/internal/enrollments/{self.enrollment}/clean-up",
            headers={"authorization": f"Bearer {INTERNAL_TOKEN}"},
            json={"queue": "voice_cleanup", "msg_id": message},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def orphan(self) -> str:
        voice = await self.make_voice()
        self.cancel()
        assert (await self.clean_up())["reason"] == "orphaned"
        return voice

    @property
    def row(self) -> Row:
        return self.given.truth("select * from voice_clone.enrollments where id = %s", self.enrollment)

    def listed(self) -> list[str]:
        return [voice["voice_id"] for voice in self.providers.voices(self.provider)]


@pytest.fixture(params=PROVIDERS)
def scene(given: Fixture, service: Served, providers: Simulator, request: pytest.FixtureRequest) -> Scene:
    return Scene(given, service, providers, request.param)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_voice_that_was_made_after_all_is_an_orphan_and_stays_for_its_grace(scene: Scene) -> None:
    voice = await scene.orphan()
    assert (scene.row["status"], scene.row["provider_voice_id"]) == ("orphaned", voice)
    assert (await scene.clean_up())["reason"] == "in_grace"
    assert scene.listed() == [voice]


async def test_an_orphan_is_removed_at_the_provider_after_its_grace(scene: Scene) -> None:
    await scene.orphan()
    scene.end_grace()
    answer = await scene.clean_up()
    assert (answer["outcome"], answer["reason"]) == ("done", "removed")
    assert scene.listed() == []
    assert (await scene.clean_up())["reason"] == "removed", "the same message again"
    assert len(scene.providers.calls(scene.provider, "delete")) == 1


async def test_its_message_goes_with_the_effect(scene: Scene) -> None:
    await scene.orphan()
    scene.end_grace()
    sent = "select voice_clone.send_messages('voice_cleanup', array['{}']::jsonb[], 0) as ids"
    (message,) = scene.given.one(sent)["ids"]
    assert (await scene.clean_up(message))["acknowledged"]
    left = "select count(*) from pgmq.q_voice_cleanup where msg_id = %s"
    assert scene.given.truth(left, message)["count"] == 0


async def test_what_the_provider_lists_late_is_waited_for(scene: Scene) -> None:
    scene.providers.fault(scene.provider, "create", "list_lag", lists=2)
    voice = await scene.make_voice()
    scene.cancel()
    for _ in range(2):
        assert (await scene.clean_up())["reason"] == "not_settled"
    assert scene.row["status"] == "intended"
    assert (await scene.clean_up())["reason"] == "orphaned"
    assert scene.row["provider_voice_id"] == voice


async def test_what_was_never_made_is_closed_once_it_is_settled(scene: Scene) -> None:
    scene.cancel()
    assert (await scene.clean_up())["reason"] == "not_settled"
    scene.settle()
    assert (await scene.clean_up())["reason"] == "closed"
    assert scene.row["error_code"] == "never_made"


async def test_what_a_worker_has_in_hand_is_left_to_it(scene: Scene) -> None:
    await scene.make_voice()
    assert (await scene.clean_up())["reason"] == "has_worker"
    assert scene.providers.calls(scene.provider, "list") == []


@pytest.mark.parametrize("scene", ["elevenlabs"], indirect=True)
async def test_a_voice_that_is_adopted_while_it_is_looked_up_is_no_orphan(scene: Scene) -> None:
    voice = await scene.make_voice()
    activate = b"update public.voice_clone_attempts set is_active = %s where id = %s"
    scene.providers.fault(scene.provider, "list", "hang", after_commit=True)
    scene.given.superuser.execute(activate, (False, scene.attempt))
    cleaning = asyncio.create_task(scene.clean_up())
    await asyncio.to_thread(scene.providers.wait, scene.provider, "list")
    scene.given.superuser.execute(activate, (True, scene.attempt))
    scene.given.one(
        "select * from voice_clone.attach_voice(%s, %s, %s, %s, 'model-1', 'request-1', null, null, false)",
        scene.attempt, scene.epoch, scene.enrollment, voice,
    )  # fmt: skip
    scene.providers.release()
    assert (await cleaning)["reason"] == "attached"
    assert scene.row["status"] == "attached"


@pytest.mark.parametrize("after_commit", [True, False])
async def test_a_removal_whose_answer_was_lost_is_looked_up_before_it_is_repeated(
    scene: Scene, after_commit: bool
) -> None:
    await scene.orphan()
    scene.end_grace()
    scene.providers.fault(scene.provider, "delete", "bad_gateway", after_commit=after_commit)
    assert (await scene.clean_up())["reason"] == "provider_unavailable"
    assert scene.row["status"] == "removing"
    assert (await scene.clean_up())["reason"] == "removed"
    deletes = scene.providers.calls(scene.provider, "delete")
    assert len(deletes) == (1 if after_commit else 2)
    assert scene.listed() == []


async def test_an_orphan_that_is_not_listed_is_removed_all_the_same(scene: Scene) -> None:
    scene.providers.fault(scene.provider, "create", "list_lag", lists=100)
    voice = await scene.make_voice()
    scene.cancel()
    report = "select voice_clone.report_enrollment(%s, %s, 'm', false, 'r', null) as status"
    assert scene.given.one(report, scene.enrollment, voice)["status"] == "orphaned"
    scene.end_grace()
    assert (await scene.clean_up())["reason"] == "removed"
    assert scene.listed() == []


async def test_a_voice_that_is_gone_already_counts_as_removed(scene: Scene) -> None:
    await scene.orphan()
    scene.end_grace()
    scene.providers.reset()
    assert (await scene.clean_up())["reason"] == "removed"


async def test_a_provider_that_is_away_changes_nothing(scene: Scene) -> None:
    await scene.make_voice()
    scene.cancel()
    scene.settle()
    scene.providers.fault(scene.provider, "list", "unavailable")
    assert (await scene.clean_up())["reason"] == "provider_unavailable"
    assert scene.row["status"] == "intended"
    assert (await scene.clean_up())["reason"] == "orphaned"


async def test_a_region_that_is_not_set_up_here_is_not_looked_into(scene: Scene) -> None:
    scene.cancel()
    scene.settle()
    scene.past("region = 'beijing'")
    assert (await scene.clean_up())["reason"] == "provider_region_changed"
    assert (scene.row["status"], scene.row["error_code"]) == ("intended", "provider_region_changed")
    assert scene.providers.calls(scene.provider, "list") == []


async def test_an_account_that_is_not_set_up_here_is_not_looked_into(scene: Scene) -> None:
    scene.cancel()
    scene.settle()
    sweep_at = scene.row["sweep_at"]
    scene.past("account = 'another'")
    assert (await scene.clean_up())["reason"] == "provider_account_changed"
    row = scene.row
    assert (row["status"], row["error_code"]) == ("intended", "provider_account_changed")
    assert row["sweep_at"] == sweep_at, "the sweep alone decides when it is tried again"
    assert scene.providers.calls(scene.provider, "list") == []


async def test_an_unknown_enrollment_is_not_found_and_a_stranger_is_not_let_in(service: Served) -> None:
    path = f"/internal/enrollments/{uuid4()}/clean-up"
    assert (await service.http.post(path, json={})).status_code == 401
    headers = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
    missing = await service.http.post(path, headers=headers, json={})
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
