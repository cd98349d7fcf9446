"""Marks: C2PA's own reader validates each container; edited, converted and hostile files are told apart."""

import asyncio
import io
import os
import random
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import c2pa
import msgspec
import pytest
import pytest_asyncio
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from backend.errors import MarkingUnavailable
from backend.provenance.certificates import KeyPair, make_development_key_pair
from backend.provenance.formats import FORMATS
from backend.provenance.manifest import Origin
from backend.provenance.marking import AudioMarker
from backend.provenance.signing import SigningFailed, SigningKey, load_signing_key
from backend.provenance.verifying import MarkReader
from backend.settings.provenance import ProvenanceSettings
from tests.simulators import spoken_sample

ORIGIN = Origin(provider="qwen", model="qwen3-tts-vc-2026-01-22")
CONTAINERS = {
    "audio/wav": ("wav", "pcm_s16le"),
    "audio/mpeg": ("mp3", "libmp3lame"),
    "audio/flac": ("flac", "flac"),
    "audio/mp4": ("ipod", "aac"),
}
SPEECH = spoken_sample(2.0)


def converted(audio: bytes, content_type: str) -> bytes:
    container, codec = CONTAINERS[content_type]
    target = io.BytesIO()
    with av.open(io.BytesIO(audio), "r") as source, av.open(target, "w", format=container) as output:
        stream = output.add_stream(codec, rate=24_000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        for frame in source.decode(audio=0):
            frame.pts = None
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


def seconds(audio: bytes) -> float:
    with av.open(io.BytesIO(audio), "r") as source:
        return sum(frame.samples / frame.sample_rate for frame in source.decode(audio=0))


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return make_development_key_pair()


@pytest.fixture(scope="module")
def files(pair: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("c2pa")
    (folder / "chain.pem").write_text(pair.chain)
    (folder / "key.pem").write_text(pair.key)
    return str(folder / "chain.pem"), str(folder / "key.pem")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def marker(files: tuple[str, str]) -> AsyncIterator[AudioMarker]:
    settings = ProvenanceSettings(certificate_file=files[0], key_file=files[1])
    made = AudioMarker(load_signing_key(settings))
    yield made
    await made.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reader(pair: KeyPair) -> AsyncIterator[MarkReader]:
    made = MarkReader(pair.chain)
    yield made
    await made.aclose()


@pytest.mark.parametrize("content_type", CONTAINERS)
async def test_c2pas_reader_validates_each_container(marker: AudioMarker, content_type: str) -> None:
    plain = converted(SPEECH, content_type)
    marked = await marker.mark(plain, content_type, ORIGIN)
    assert seconds(marked) == pytest.approx(seconds(plain), abs=0.1)
    settings = {"verify": {"verify_trust": False}}
    with c2pa.Reader(
        content_type, io.BytesIO(marked), context=c2pa.Context(settings=c2pa.Settings.from_dict(settings))
    ) as reader:
        assert reader.get_validation_state() == "Valid", reader.json()
        assert reader.is_embedded()


@pytest.mark.parametrize("content_type", CONTAINERS)
async def test_a_marked_file_says_what_it_is_and_who_signed(
    marker: AudioMarker, reader: MarkReader, content_type: str
) -> None:
    found = await reader.read(await marker.mark(converted(SPEECH, content_type), content_type, ORIGIN))
    assert (found.verdict, found.failures) == ("valid", [])
    assert found.signed_by is not None
    assert found.signed_by.is_trusted
    assert found.signed_by.name == "Likeness development"
    assert (found.generator, found.provider, found.model) == ("Likeness", ORIGIN.provider, ORIGIN.model)
    assert found.source_type == "trainedAlgorithmicMedia"
    assert found.made_at


@pytest.mark.parametrize("name", FORMATS)
async def test_speech_has_its_mark_in_each_format(marker: AudioMarker, reader: MarkReader, name: str) -> None:
    made = await marker.mark_as(SPEECH, FORMATS[name], ORIGIN)
    if name == "pcm":
        assert made.sample_rate == 24_000
        assert len(made.audio) / 2 / made.sample_rate == pytest.approx(seconds(SPEECH), abs=0.01)
    else:
        assert seconds(made.audio) == pytest.approx(seconds(SPEECH), abs=0.1)
    assert (made.manifest is None) is FORMATS[name].holds_mark
    found = await reader.read(made.audio, made.manifest)
    assert (found.verdict, found.provider, found.source_type) == ("valid", "qwen", "trainedAlgorithmicMedia")
    if made.manifest is not None:
        changed = bytearray(made.audio)
        changed[len(changed) // 2] ^= 1
        assert (await reader.read(bytes(changed), made.manifest)).verdict == "edited"


async def test_opus_says_in_its_comments_that_it_is_synthetic(marker: AudioMarker) -> None:
    made = await marker.mark_as(SPEECH, FORMATS["opus"], ORIGIN)
    with av.open(io.BytesIO(made.audio), "r") as file:
        tags = {**file.metadata, **file.streams.audio[0].metadata}
    said = {name.lower(): value for name, value in tags.items()}
    assert said["title"] == "Synthetic speech"
    assert said["comment"].endswith("/trainedAlgorithmicMedia")


async def test_the_manifest_of_another_audio_proves_nothing(marker: AudioMarker, reader: MarkReader) -> None:
    made = await marker.mark_as(SPEECH, FORMATS["pcm"], ORIGIN)
    other = await marker.mark_as(spoken_sample(1.0), FORMATS["pcm"], ORIGIN)
    assert (await reader.read(other.audio, made.manifest)).verdict == "edited"
    assert (await reader.read(made.audio, b"no manifest")).verdict in {"unmarked", "unreadable"}


async def test_the_local_voice_is_algorithmic_and_not_trained(
    marker: AudioMarker, reader: MarkReader
) -> None:
    found = await reader.read(await marker.mark(SPEECH, "audio/wav", Origin(provider="local", model="")))
    assert (found.verdict, found.source_type, found.model) == ("valid", "algorithmicMedia", None)


@pytest.mark.parametrize("content_type", CONTAINERS)
async def test_an_edited_file_is_reported_as_edited(
    marker: AudioMarker, reader: MarkReader, content_type: str
) -> None:
    plain = converted(SPEECH, content_type)
    marked = bytearray(await marker.mark(plain, content_type, ORIGIN))
    at = marked.find(plain[len(plain) // 2 :][:64])
    assert at > 0
    marked[at] ^= 1
    found = await reader.read(bytes(marked))
    assert found.verdict == "edited", found
    assert found.signed_by is not None


@pytest.mark.parametrize("content_type", CONTAINERS)
async def test_a_converted_file_is_unmarked(
    marker: AudioMarker, reader: MarkReader, content_type: str
) -> None:
    marked = await marker.mark(SPEECH, "audio/wav", ORIGIN)
    found = await reader.read(converted(marked, content_type))
    assert (found.verdict, found.signed_by) == ("unmarked", None)
    assert "may still be synthetic" in found.explanation


async def test_a_mark_of_an_unknown_certificate_is_not_trusted(reader: MarkReader) -> None:
    stranger = AudioMarker(load_signing_key(ProvenanceSettings()))
    try:
        found = await reader.read(await stranger.mark(SPEECH, "audio/wav", ORIGIN))
    finally:
        await stranger.aclose()
    assert found.verdict == "valid"
    assert found.signed_by is not None
    assert not found.signed_by.is_trusted


async def test_a_mark_whose_claim_was_changed_does_not_hold(marker: AudioMarker, reader: MarkReader) -> None:
    marked = await marker.mark(SPEECH, "audio/wav", ORIGIN)
    assert marked.count(b"trainedAlgorithmicMedia") == 1
    found = await reader.read(marked.replace(b"trainedAlgorithmicMedia", b"digitalCaptureOfPersons"))
    assert (found.verdict, found.source_type, found.signed_by) == ("invalid", None, None)
    assert found.failures


@pytest.mark.parametrize("content_type", CONTAINERS)
async def test_a_hostile_file_is_answered_for(
    marker: AudioMarker, reader: MarkReader, content_type: str
) -> None:
    marked = await marker.mark(converted(SPEECH, content_type), content_type, ORIGIN)
    chance = random.Random(content_type)
    hostile = [marked[:cut] for cut in (0, 3, 11, 40, 400, len(marked) // 2, len(marked) - 1)]
    hostile += [marked[:16] + bytes(chance.randbytes(4096)), marked + marked, bytes(4096)]
    for name in (b"jumb", b"jumd", b"C2PA", b"uuid", b"GEOB", b"mdat", b"data", b"cbor"):
        for size in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            for order in ("big", "little"):
                hostile += [marked.replace(name, name + size.to_bytes(4, order), 1)]
                if (at := marked.find(name)) >= 4:
                    hostile += [marked[: at - 4] + size.to_bytes(4, order) + marked[at:]]
    for _ in range(40):
        damaged = bytearray(marked)
        for _ in range(20):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        hostile += [bytes(damaged)]
    for each in hostile:
        assert (await reader.read(each)).verdict in {"edited", "invalid", "unmarked", "unreadable", "valid"}
    assert (await reader.read(marked)).verdict == "valid", "the reader answers as before"


async def test_a_command_signs_in_place_of_a_key(
    files: tuple[str, str], reader: MarkReader, tmp_path: Path
) -> None:
    script = tmp_path / "sign.py"
    script.write_text(
        "import sys\n"
        "from cryptography.hazmat.primitives import hashes\n"
        "from cryptography.hazmat.primitives.asymmetric import ec\n"
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
        f"key = load_pem_private_key(open({files[1]!r}, 'rb').read(), None)\n"
        "sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read(), ec.ECDSA(hashes.SHA256())))\n"
    )
    settings = ProvenanceSettings(certificate_file=files[0], sign_command=f"{sys.executable} {script}")
    marker = AudioMarker(load_signing_key(settings))
    try:
        assert (await reader.read(await marker.mark(SPEECH, "audio/wav", ORIGIN))).verdict == "valid"
    finally:
        await marker.aclose()


@pytest.mark.parametrize("command", ["false", "/nowhere/at-all", "echo no signature", "head -c 64 /dev/zero"])
async def test_no_audio_is_returned_where_the_key_does_not_sign(files: tuple[str, str], command: str) -> None:
    settings = ProvenanceSettings(certificate_file=files[0], sign_command=command)
    marker = AudioMarker(load_signing_key(settings))
    try:
        with pytest.raises(MarkingUnavailable):
            await marker.mark(SPEECH, "audio/wav", ORIGIN)
    finally:
        await marker.aclose()


def test_a_command_that_ends_before_it_reads_is_a_key_that_does_not_sign(files: tuple[str, str]) -> None:
    """The loop of the service: it says a closed pipe in its own way, about one time in four."""
    key = load_signing_key(ProvenanceSettings(certificate_file=files[0], sign_command="false"))

    async def sign_often() -> set[type[BaseException]]:
        ended = await asyncio.gather(*(key.sign(bytes(3000)) for _ in range(40)), return_exceptions=True)
        return {type(each) for each in ended if isinstance(each, BaseException)}

    assert uvloop.run(sign_often()) == {SigningFailed}


async def test_a_key_of_another_certificate_signs_nothing(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_text(make_development_key_pair().key)
    settings = ProvenanceSettings(certificate_file=files[0], key_file=str(tmp_path / "other.pem"))
    with pytest.raises(SigningFailed):
        await load_signing_key(settings).sign(b"anything")


async def test_the_worker_has_no_key_and_signs_once(pair: KeyPair, files: tuple[str, str]) -> None:
    loaded = load_signing_key(ProvenanceSettings(certificate_file=files[0], key_file=files[1]))
    signed: list[bytes] = []

    async def sign(data: bytes) -> bytes:
        signed.append(data)
        return await loaded.sign(data)

    marker = AudioMarker(SigningKey(chain=loaded.chain, sign=sign))
    try:
        await asyncio.gather(*(marker.mark(SPEECH, "audio/wav", ORIGIN) for _ in range(8)))
    finally:
        await marker.aclose()
    assert len(signed) == 8
    assert pair.key.encode() not in b"".join(signed)


async def test_the_longest_speech_is_marked(marker: AudioMarker, reader: MarkReader) -> None:
    silence = b"RIFF" + (48_000_036).to_bytes(4, "little") + SPEECH[8:40] + (48_000_000).to_bytes(4, "little")
    marked = await marker.mark(silence + bytes(48_000_000), "audio/wav", ORIGIN)
    assert len(marked) > 48_000_000


async def test_a_mark_names_no_person_and_no_path(marker: AudioMarker, pair: KeyPair) -> None:
    marked = await marker.mark(SPEECH, "audio/wav", ORIGIN)
    with c2pa.Reader("audio/wav", io.BytesIO(marked)) as reader:
        store = msgspec.json.decode(reader.json())
    (manifest,) = store["manifests"].values()
    (actions,) = manifest["assertions"]
    (created,) = actions["data"]["actions"]
    assert set(created) == {"action", "when", "digitalSourceType", "softwareAgent"}
    assert os.getcwd().encode() not in marked


def test_settings_that_cannot_sign_are_refused_at_the_start(files: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    chain, key = files
    for named, settings in {
        "C2PA_CERTIFICATE_FILE is missing": {"key_file": key},
        "C2PA_CERTIFICATE_FILE needs one of": {"certificate_file": chain},
        "C2PA_CERTIFICATE_FILE has no certificate": {"certificate_file": str(other), "key_file": key},
        "C2PA_KEY_FILE has no key": {"certificate_file": chain, "key_file": chain},
        "C2PA_KEY_FILE cannot be read": {"certificate_file": chain, "key_file": str(tmp_path / "none")},
        "C2PA_TRUST_FILE has no certificate": {"trust_file": str(other)},
    }.items():
        (problem,) = ProvenanceSettings(**settings).problems()
        assert problem.startswith(named)
    assert list(ProvenanceSettings(certificate_file=chain, key_file=key, trust_file=chain).problems()) == []


@pytest.mark.parametrize(
    ("curve", "days", "fault"),
    [
        (ec.SECP384R1(), 1, "begins with a certificate that is not of a key of P-256"),
        (ec.SECP256R1(), -1, "begins with a certificate that is valid only from 2020-01-01 to "),
        (ec.SECP256R1(), 1, None),
    ],
)
def test_a_certificate_that_signs_nothing_valid_is_refused_at_the_start(
    curve: ec.EllipticCurve, days: int, fault: str | None, tmp_path: Path
) -> None:
    key = ec.generate_private_key(curve)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "signer.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM))
    problems = list(ProvenanceSettings(certificate_file=str(path), sign_command="sign").problems())
    assert len(problems) == (fault is not None)
    assert all(each.startswith(f"C2PA_CERTIFICATE_FILE {fault}") for each in problems)


async def test_without_a_root_no_mark_is_trusted(marker: AudioMarker) -> None:
    reader = MarkReader("")
    try:
        found = await reader.read(await marker.mark(SPEECH, "audio/wav", ORIGIN))
    finally:
        await reader.aclose()
    assert found.verdict == "valid"
    assert found.signed_by is not None
    assert not found.signed_by.is_trusted
