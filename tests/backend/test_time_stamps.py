"""Time stamps of marks, of a real authority, in each format; and what comes of one that is away or wrong."""

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import c2pa
import pytest

from backend.provenance.certificates import KeyPair, make_development_key_pair
from backend.provenance.formats import FORMATS
from backend.provenance.frames import BESIDE
from backend.provenance.manifest import Origin
from backend.provenance.marking import AudioMarker
from backend.provenance.signing import SigningKey, key_of
from backend.provenance.stamp_bytes import NotStamped, countersigned, put_in, token_of
from backend.provenance.time_stamps import TimeStamper
from backend.provenance.verifying import MarkReader
from backend.web.http_client import HttpClient
from tests.backend.authorities import OPENSSL, Authority, authority
from tests.simulators import spoken_sample

ORIGIN = Origin(provider="qwen", model="m")
SPEECH = spoken_sample(1.0)
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no openssl, whose authority stamps")


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return make_development_key_pair()


@pytest.fixture
async def stamping(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Authority]:
    async with authority(tmp_path_factory.mktemp("authority")) as started:
        yield started


@pytest.fixture
async def marker(stamping: Authority, pair: KeyPair) -> AsyncIterator[AudioMarker]:
    async with HttpClient() as client:
        key = SigningKey(chain=pair.chain, sign=key_of(pair.chain, pair.key))
        made = AudioMarker(key, TimeStamper(stamping.url, client))
        yield made
        await made.aclose()


@pytest.fixture
async def reader(pair: KeyPair) -> AsyncIterator[MarkReader]:
    made = MarkReader(pair.chain)
    yield made
    await made.aclose()


@needs_openssl
async def test_each_format_has_the_time_that_the_authority_attests(
    marker: AudioMarker, reader: MarkReader, stamping: Authority
) -> None:
    for count, wanted in enumerate(FORMATS.values(), start=1):
        began = datetime.now(UTC).replace(microsecond=0)
        made = await marker.mark_as(SPEECH, wanted, ORIGIN)
        found = await reader.read(made.audio, made.manifest)
        assert (wanted.name, found.verdict, found.failures) == (wanted.name, "valid", [])
        assert found.stamped_at is not None
        assert began <= datetime.fromisoformat(found.stamped_at) <= datetime.now(UTC)
        assert stamping.asked == count
        content_type = wanted.content_type if wanted.holds_mark else BESIDE
        with c2pa.Reader(content_type, io.BytesIO(made.audio), manifest_data=made.manifest) as c2pas:
            assert "timeStamp.validated" in c2pas.json()


@needs_openssl
@pytest.mark.parametrize("fault", ["away", "refuses", "another", "garbage", "endless"])
async def test_without_a_stamp_the_mark_holds(
    marker: AudioMarker, reader: MarkReader, stamping: Authority, fault: str
) -> None:
    stamping.fault = fault
    found = await reader.read(await marker.mark(SPEECH, "audio/wav", ORIGIN))
    assert (found.verdict, found.stamped_at, stamping.asked) == ("valid", None, 1)
    stamping.fault = ""
    assert (await reader.read(await marker.mark(SPEECH, "audio/wav", ORIGIN))).stamped_at


async def test_an_authority_that_is_not_there_costs_the_stamp_alone(
    pair: KeyPair, reader: MarkReader
) -> None:
    async with HttpClient() as client:
        key = SigningKey(chain=pair.chain, sign=key_of(pair.chain, pair.key))
        marker = AudioMarker(key, TimeStamper("http://127.0.0.1:1/stamp", client))
        try:
            found = await reader.read(await marker.mark(SPEECH, "audio/wav", ORIGIN))
        finally:
            await marker.aclose()
    assert (found.verdict, found.stamped_at) == ("valid", None)


@pytest.mark.parametrize(
    "reply",
    ["", "30", "3000", "3084ffffffff", "30053003020102", "30800000", "30053003020100", "300730030201000400"],
)
def test_what_is_no_time_stamp_is_said_to_be_none(reply: str) -> None:
    with pytest.raises(NotStamped):
        token_of(bytes.fromhex(reply))


@pytest.mark.parametrize("claim", [b"", b"\x84", b"\x84\x6aSignature1", b"\x84\x6aSignature2\x40\x40\x40"])
def test_what_is_no_claim_is_not_stamped(claim: bytes) -> None:
    with pytest.raises(NotStamped):
        countersigned(claim, bytes(64))


def test_a_token_needs_room_and_takes_no_more() -> None:
    manifest = b"before" + b"\xa1\x63pad\x59\x04\x00" + bytes(1024) + b"after"
    stamped = put_in(manifest, b"t" * 300)
    assert len(stamped) == len(manifest)
    assert stamped.startswith(b"before\xa2\x67sigTst2")
    assert stamped.endswith(b"after")
    for token, place in (
        (b"t" * 900, manifest),
        (b"t", b"nothing"),
        (b"t", manifest.replace(b"\x00\x00", b"\x01\x00")),
    ):
        with pytest.raises(NotStamped):
            put_in(place, token)
