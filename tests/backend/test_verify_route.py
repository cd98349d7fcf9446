"""`POST /v1/verify`: open to everybody, and bounded."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.provenance.formats import FORMATS
from backend.provenance.manifest import Origin
from backend.provenance.marking import AudioMarker
from backend.provenance.signing import load_signing_key
from backend.provenance.verifying import MOST_BYTES, PLACES
from backend.settings.provenance import ProvenanceSettings
from scripts.local.supabase.postgres import Cluster
from tests.backend.test_request_bounds import Service, running
from tests.clusters import cloned_database
from tests.fixture import Fixture
from tests.simulators import spoken_sample

LIMIT = 10


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest.fixture
async def service(given: Fixture, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    limit = getattr(request, "param", 0)
    settings = {
        "RATE_LIMIT_VERIFICATIONS": str(limit),
        "CLIENT_ADDRESS": "x-real-ip",
        "REQUEST_TIMEOUT_SECONDS": "30",
    }
    async with running(tmp_path, given.database.service, **settings) as started:
        yield started


async def sent(service: Service, body: Any, address: str = "192.0.2.1") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        headers = {"x-real-ip": address, "content-type": "audio/wav"}
        return await http.post(f"http://127.0.0.1:{service.port}/v1/verify", content=body, headers=headers)


async def test_anybody_learns_what_a_file_says(service: Service) -> None:
    marker = AudioMarker(load_signing_key(ProvenanceSettings()))
    try:
        plain = spoken_sample(1.0)
        marked = await marker.mark(plain, "audio/wav", Origin(provider="qwen", model="m"))
    finally:
        await marker.aclose()
    edited = marked[:2000] + bytes([marked[2000] ^ 1]) + marked[2001:]
    for body, verdict in ((marked, "valid"), (edited, "edited"), (plain, "unmarked"), (b"x", "unreadable")):
        answer = await sent(service, body)
        assert (answer.status_code, answer.json()["verdict"]) == (200, verdict)
    empty = await sent(service, b"")
    assert (empty.status_code, empty.json()["code"]) == (422, "file_empty")


async def test_a_file_that_is_too_large_is_refused_before_it_is_read(service: Service) -> None:
    answer = await sent(service, bytes(MOST_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["limit"] == MOST_BYTES


@pytest.mark.parametrize("service", [LIMIT], indirect=True)
async def test_an_address_that_sends_too_many_files_is_told_when_to_come_back(service: Service) -> None:
    answer, answered = await sent(service, b"x", "192.0.2.7"), 0
    while answer.status_code == 200:  # the limit fills up again while it is used
        answer, answered = await sent(service, b"x", "192.0.2.7"), answered + 1
    assert answered >= LIMIT
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await sent(service, b"x", "192.0.2.8")).status_code == 200


async def test_more_files_than_places_are_refused_and_the_places_come_back(service: Service) -> None:
    release, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"RIFF"
        begun.release()
        await release.wait()
        yield b"WAVE"

    slow = [asyncio.create_task(sent(service, slowly(), f"192.0.2.{n}")) for n in range(PLACES)]
    for _ in slow:
        await begun.acquire()
    codes = set()
    while "throttled" not in codes:  # until the last of them has its place
        answer = await sent(service, b"x", "198.51.100.1")
        codes.add(answer.json().get("code", "answered"))
        assert answer.status_code == 200 or answer.json()["limit"] == PLACES
        assert answer.status_code in (200, 429)
    release.set()
    assert {each.status_code for each in await asyncio.gather(*slow)} == {200}
    assert (await sent(service, b"x", "198.51.100.2")).status_code == 200


async def test_audio_whose_manifest_was_kept_is_verified_by_its_hash(
    service: Service, given: Fixture
) -> None:
    """What is not known here is not: the signer is the service's own, of development."""
    marker = AudioMarker(load_signing_key(ProvenanceSettings()))
    try:
        made = await marker.mark_as(spoken_sample(1.0), FORMATS["opus"], Origin(provider="qwen", model="m"))
    finally:
        await marker.aclose()
    assert (await sent(service, made.audio)).json()["verdict"] == "unreadable"
    given.one("select voice_clone.keep_manifest(sha256(%s), %s)", made.audio, made.manifest)
    found = (await sent(service, made.audio)).json()
    assert (found["verdict"], found["provider"]) == ("valid", "qwen")
    assert (await sent(service, made.audio + b"x")).json()["verdict"] == "unreadable", "another audio"


async def test_a_kept_manifest_is_read_by_whoever_knows_the_hash(service: Service, given: Fixture) -> None:
    digest = hashlib.sha256(b"audio").hexdigest()
    address = f"http://127.0.0.1:{service.port}/v1/provenance"
    async with httpx.AsyncClient(trust_env=False) as http:
        unknown = await http.get(f"{address}/{digest}")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        given.one("select voice_clone.keep_manifest(sha256(%s), %s)", b"audio", b"manifest")
        found = await http.get(f"{address}/{digest.upper()}")
        assert (found.content, found.headers["content-type"]) == (b"manifest", "application/c2pa")
        for other in (digest[:-1], digest + "0", "x" * 64, "%00" * 64, "..%2f"):
            assert (await http.get(f"{address}/{other}")).status_code == 404
