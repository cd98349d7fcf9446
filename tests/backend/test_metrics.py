"""/metrics of service and consumers, and /health of the consumers: who may read them, and what they say."""

import re
import sys
from glob import glob
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg_pool
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from backend.settings.sections import read_section
from backend.web.metrics import HELP
from queue_consumers.metrics import serving_metrics
from queue_consumers.presence import Presence
from queue_consumers.settings import ConsumerSettings
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.processes import Processes
from scripts.migrations import ROOT
from tests.backend.conftest import INTERNAL_TOKEN, NOBODY
from tests.backend.following import headers, serving
from tests.backend.test_erasures import client
from tests.backend.test_starting import environment
from tests.clusters import Database
from tests.fixture import Fixture
from tests.preloaded import launch

TOKEN = "metrics-token-of-more-than-32-letters"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")

Key = tuple[str, frozenset[tuple[str, str]]]


def parsed(text: str) -> dict[Key, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> Key:
    return name, frozenset(labels.items())


async def scrape(http: httpx.AsyncClient) -> dict[Key, float]:
    answer = await http.get("/metrics", headers=AUTHORIZED)
    assert (answer.status_code, answer.headers["content-type"]) == (
        200, "text/plain; version=0.0.4; charset=utf-8",
    )  # fmt: skip
    return parsed(answer.text)


async def test_only_who_has_the_token_reads_metrics(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    async with serving(tmp_path, given.database.service) as service, client(service.url) as http:
        assert (await http.get("/metrics", headers=AUTHORIZED)).json()["code"] == "route_not_found"
    async with (
        serving(tmp_path, given.database.service, METRICS_TOKEN=TOKEN) as service,
        client(service.url) as http,
    ):
        for wrong in ({}, headers(user), {"authorization": f"Bearer {INTERNAL_TOKEN}"}):
            answer = await http.get("/metrics", headers=wrong)
            assert answer.status_code == 401, answer.text
            assert "likeness_" not in answer.text
        assert await scrape(http)


async def test_a_token_that_can_be_guessed_is_refused() -> None:
    environ = {"METRICS_PORT": "1", "METRICS_HOST": "0.0.0.0"}  # noqa: S104
    problems: list[str] = []
    read_section(ConsumerSettings, environ, problems)
    assert problems == ["METRICS_TOKEN is missing: METRICS_HOST is reached from other machines"]


async def test_requests_refusals_and_what_the_database_knows_are_counted(
    given: Fixture, tmp_path: Path
) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    given.open(user, None)
    given.superuser.execute(
        "insert into voice_clone.slots (provider, region, slots) values ('qwen', 'beijing', 9)"
    )
    given.superuser.execute(
        "insert into voice_clone.erasures (kind, subject_hash, requested_by, requested_at)"
        " values ('user', sha256('someone'), 'user', now() - interval '2 days')"
    )
    given.superuser.execute("update voice_clone.voice_checks set error_code = 'all_voices_missing'")
    async with (
        serving(tmp_path, given.database.service, METRICS_TOKEN=TOKEN) as service,
        client(service.url) as http,
    ):
        for _ in range(3):
            await http.get(f"/v1/reflections/{reflection}/launch-gate", headers=headers(user))
        refused = await http.get(f"/v1/reflections/{reflection}/launch-gate")
        await http.get(f"/{uuid4()}")
        await http.request("BREW", f"/{uuid4()}")
        found = await scrape(http)
    gate = "/v1/reflections/{reflection_id}/launch-gate"
    assert found[key("likeness_http_requests_total", method="GET", route=gate, status="200")] == 3
    assert found[key("likeness_http_request_seconds_count", route=gate)] == 4
    assert found[key("likeness_http_requests_total", method="GET", route="none", status="404")] == 1
    methods = {value for _, labels in found for name, value in labels if name == "method"}
    assert methods <= {"GET", "other"}, "a client does not choose a label"
    assert found[key("likeness_refusals_total", code=refused.json()["code"])] == 1
    assert found[key("likeness_database_up")] == 1
    assert found[key("likeness_unfinished_attempts", status="awaiting_upload")] == 1
    assert found[key("likeness_unfinished_attempts", status="queued")] == 0
    assert found[key("likeness_transitions_recent", event="preview_completed")] == 1
    assert found[key("likeness_queue_dead", queue="voice_mirror")] == 0
    assert found[key("likeness_provider_slots", provider="qwen", region="beijing", state="all")] == 9
    assert found[key("likeness_open_erasures")] == 1
    assert 172_800 <= found[key("likeness_open_erasure_oldest_seconds")] < 176_400
    assert {name for name, _ in found} >= set(HELP), "each is there, also where it is zero"
    for name, labels in found:
        assert not UUID.search(str(labels)), f"{name} has a label without bound: {labels}"
        assert str(user)[:8] not in str(labels)


async def test_metrics_are_there_while_the_database_is_away(tmp_path: Path, given: Fixture) -> None:
    nowhere = f"postgresql://voice_clone_service:secret@127.0.0.1:{free_port()}/postgres"
    async with (
        serving(tmp_path, nowhere, METRICS_TOKEN=TOKEN) as service,
        client(service.url) as http,
    ):
        found = await scrape(http)
    assert found[key("likeness_database_up")] == 0
    assert not {name for name, _ in found} & set(HELP), "no old number is shown as a new one"


async def test_the_numbers_of_all_workers_are_summed(given: Fixture, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = environment(
        given.database.service, NOBODY, PORT=str(port), METRICS_TOKEN=TOKEN, WORKERS="2", TMPDIR=str(tmp_path)
    )
    processes = Processes(tmp_path / "logs")
    live = key("likeness_http_requests_total", method="GET", route="/health/live", status="200")
    # A process of its own: prometheus_client decides at its import where numbers are kept.
    service = await processes.start("service", [sys.executable, "-m", "backend"], env, cwd=ROOT)
    try:
        await service.await_url(f"{url}/health/live")
        for _ in range(40):  # a connection each, so that both workers have some
            async with client(url) as http:
                assert (await http.get("/health/live")).status_code == 200
        found: list[float] = []
        for _ in range(6):
            async with client(url) as http:
                every = await scrape(http)
                found.append(every[live])
        written = {path.rpartition("_")[2] for path in glob(f"{tmp_path}/likeness-metrics-*/*.db")}
    finally:
        await processes.stop_all()
    assert len(written) == 2, "both workers counted"
    assert set(found) == {found[0]}, "each worker answers with the sum"
    assert found[0] >= 41
    assert not glob(f"{tmp_path}/likeness-metrics-*"), "the files go with the server"


async def test_consumers_say_what_became_of_their_messages(
    given: Fixture, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    user = given.user()
    reflection = given.reflection(user)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'mirror_progress'")
    env = {
        "DATABASE_URL": database.service, "SWEEP_SECONDS": "0",
        "METRICS_PORT": str(port), "METRICS_TOKEN": TOKEN,
    }  # fmt: skip
    processes = Processes(tmp_path)
    child = await processes.launch("consumers", launch("queue_consumers", "voice_mirror", env=env))
    try:
        await child.await_output("listening")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            assert (await http.get("/metrics")).status_code == 401
            assert (await http.get("/health")).json() == {"status": "ok"}
            given.queued(user, reflection)
            done = key("likeness_messages_total", queue="voice_mirror", outcome="done")
            while given.voice(reflection).get("cloneStatus") != "queued":
                found = await scrape(http)
            while (found := await scrape(http)).get(done, 0) < 1:  # counted after its commit
                pass
            assert found[key("likeness_message_pickup_seconds_count", queue="voice_mirror")] >= 1
    finally:
        await processes.stop_all()


async def test_consumers_are_unwell_while_they_cannot_write(tmp_path: Path) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/postgres?connect_timeout=1"
    settings = ConsumerSettings(metrics_port=free_port())
    pool = psycopg_pool.AsyncConnectionPool[Any](nowhere, open=False, timeout=0.2, reconnect_timeout=0.1)
    presence = Presence(pool, ["q"])
    async with serving_metrics(settings, presence):
        url = f"http://127.0.0.1:{settings.metrics_port}/health"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(url)).status_code == 200
            presence.is_failing = True
            answer = await http.get(url)
            assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})


async def test_a_taken_port_stops_no_consumer() -> None:
    settings = ConsumerSettings(metrics_port=free_port())
    presence = Presence(psycopg_pool.AsyncConnectionPool[Any]("", open=False), ["q"])
    with capture_logs() as logged:
        async with serving_metrics(settings, presence), serving_metrics(settings, presence):
            pass
    assert [each["event"] for each in logged] == ["serving_metrics", "metrics_not_served"]
