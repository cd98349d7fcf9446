"""The embedded provider: it enrolls, finds a voice by its label, and its speech follows the sample."""

import asyncio
import io
import os
import re
import signal
import wave
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec import Struct

from backend.audio.inspect import AudioInspector
from backend.providers.base import (
    EnrollRequest,
    ErrorKind,
    ProviderError,
    SpeechRequest,
    VoiceProvider,
    new_label,
)
from backend.providers.local.adapter import TARGET_MODEL, LocalProvider
from backend.providers.local.jobs import VOICES
from backend.providers.local.measure import measure
from tests import audio_samples as samples
from tests.backend.profiles import DirectoryProfiles

TEXT = "A voice that nobody has heard before."


class Recorded(Struct):
    """A sample in memory."""

    data: bytes
    size: int
    path: str = "sample.wav"
    content_type: str = "audio/wav"

    async def signed_url(self, seconds: int) -> str:
        raise AssertionError(f"the embedded provider needs no URL, of {seconds} s or any")

    async def stream(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), 65_536):
            yield self.data[at : at + 65_536]


@pytest.fixture
def profiles(tmp_path: Path) -> DirectoryProfiles:
    return DirectoryProfiles(tmp_path)


@pytest.fixture
async def provider(profiles: DirectoryProfiles, workers: LocalProvider) -> LocalProvider:
    """A provider with its own voices and the shared worker processes."""
    fresh = LocalProvider(profiles)
    fresh.pool = workers.pool
    return fresh


@pytest.fixture(scope="module")
async def workers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(DirectoryProfiles(tmp_path_factory.mktemp("voices")), workers=1)
    yield provider
    await provider.aclose()


def request(data: bytes, label: str = "l1", language: str = "en") -> EnrollRequest:
    return EnrollRequest(
        label=label, name="Ada", language=language, transcript=None, sample=Recorded(data, len(data))
    )


def speech(
    label: str = "l1", text: str = TEXT, language: str = "en", model: str = TARGET_MODEL
) -> SpeechRequest:
    return SpeechRequest(
        provider_voice_id=f"local-voice-{label}", target_model=model, text=text, language=language
    )


def played(factor: float) -> bytes:
    """The recording at a higher or lower pitch."""
    signal, rate = samples.speech()
    return samples.wav(signal, round(rate * factor))


async def said(provider: VoiceProvider, request: SpeechRequest) -> np.ndarray:
    audio, rate = samples.read_wav(await provider.synthesize(request))
    assert rate == 24_000
    return audio


async def test_a_voice_enrolls_is_found_and_speaks(provider: VoiceProvider) -> None:
    label = new_label()
    enrolled = await provider.enroll(request(samples.recording().read_bytes(), label))
    assert (enrolled.provider_voice_id, enrolled.target_model) == (f"local-voice-{label}", TARGET_MODEL)
    audio = await said(provider, speech(label))
    assert len(audio) > 24_000
    assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(-3, abs=0.1)


async def test_what_it_speaks_passes_for_speech(provider: LocalProvider, tmp_path: Path) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    (tmp_path / "speech.wav").write_bytes(await provider.synthesize(speech(text=f"{TEXT} {TEXT}")))
    inspector = AudioInspector(workers=1)
    seen = await inspector.inspect(tmp_path / "speech.wav")
    await inspector.aclose()
    assert seen.voiced_seconds > 0.6 * seen.seconds
    assert seen.truncated is False


@pytest.mark.parametrize("factor", [0.62, 0.8, 1.0, 1.2])
async def test_the_pitch_of_the_speech_is_that_of_the_sample(factor: float, provider: LocalProvider) -> None:
    data = played(factor)
    await provider.enroll(request(data))
    signal, rate = samples.read_wav(data)
    wanted = measure(np.interp(np.arange(0, len(signal), rate / 24_000), np.arange(len(signal)), signal))
    heard = measure(await said(provider, speech(text=f"{TEXT} {TEXT}")))
    assert wanted is not None
    assert heard is not None
    assert heard.pitch_hz == pytest.approx(wanted.pitch_hz, rel=0.12)


async def test_the_spectrum_of_the_speech_moves_to_that_of_the_sample(provider: LocalProvider) -> None:
    signal, rate = samples.speech()
    muffled = np.convolve(signal, np.hanning(16) / np.hanning(16).sum(), "same")
    await provider.enroll(request(samples.wav(signal, rate), "bright"))
    await provider.enroll(request(samples.wav(muffled, rate), "dull"))
    bright = measure(await said(provider, speech("bright")))
    dull = measure(await said(provider, speech("dull")))
    assert bright is not None
    assert dull is not None
    assert np.mean(dull.bands_db[-6:]) < np.mean(bright.bands_db[-6:]) - 4


async def test_the_same_request_gives_the_same_bytes_in_any_worker(
    provider: LocalProvider, profiles: DirectoryProfiles
) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    first = await provider.synthesize(speech())
    await provider.synthesize(speech(text="Something else in between.", language="de"))
    other = LocalProvider(profiles, workers=1)
    assert await provider.synthesize(speech()) == first == await other.synthesize(speech())
    await other.aclose()


GREETINGS = {
    "de": "Guten Morgen, wie geht es Ihnen?",
    "en": "Good morning, how are you?",
    "es": "Buenos días, ¿cómo está usted?",
    "fr": "Bonjour, comment allez-vous ?",
    "it": "Buongiorno, come sta?",
    "ja": "おはよう ございます。",
    "ko": "안녕하세요, 잘 지내세요?",
    "nl": "Goedemorgen, hoe gaat het?",
    "pl": "Dzień dobry, jak się pan ma?",
    "pt": "Bom dia, como está?",
    "ru": "Доброе утро, как дела?",
    "sv": "God morgon, hur mår du?",
    "tr": "Günaydın, nasılsınız?",
    "uk": "Доброго ранку, як справи?",
    "zh": "早上好,你好吗?",
}


async def test_a_voice_speaks_every_language_it_claims(provider: LocalProvider) -> None:
    assert set(GREETINGS) == set(VOICES) == provider.limits.languages
    await provider.enroll(request(samples.recording().read_bytes()))
    for language, text in GREETINGS.items():
        assert len(await said(provider, speech(text=text, language=language))) > 12_000, language
    assert len(await said(provider, speech(language="en-GB"))) > 12_000


async def test_find_and_describe_know_exactly_what_was_enrolled(provider: LocalProvider) -> None:
    await provider.enroll(request(samples.recording().read_bytes(), "ab"))
    found = await provider.find("ab")
    assert found is not None
    assert (found.provider_voice_id, found.label, found.target_model) == (
        "local-voice-ab",
        "ab",
        TARGET_MODEL,
    )
    assert found.created_at is not None
    assert await provider.describe("local-voice-ab") == found
    assert [voice async for voice in provider.list()] == [found]
    for label in ("a", "abc", "b", "", "../ab"):
        assert await provider.find(label) is None


async def test_deleting_is_idempotent(provider: LocalProvider) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    for _ in range(2):
        await provider.delete("local-voice-l1")
    await provider.delete("somebody else's")
    assert await provider.find("l1") is None
    with pytest.raises(ProviderError) as refused:
        await provider.synthesize(speech())
    assert (refused.value.kind, refused.value.code) == (ErrorKind.REJECTED, "voice_not_found")


async def test_a_label_that_is_taken_is_to_be_looked_up_and_its_voice_stays(
    provider: LocalProvider, profiles: DirectoryProfiles
) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    before = await profiles.get("local-voice-l1.json")
    with pytest.raises(ProviderError) as unknown:
        await provider.enroll(request(played(0.8)))
    assert unknown.value.kind == ErrorKind.UNKNOWN
    assert await profiles.get("local-voice-l1.json") == before


async def test_nothing_of_the_recording_or_the_name_is_kept(
    provider: LocalProvider, profiles: DirectoryProfiles
) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    kept = await profiles.get("local-voice-l1.json")
    assert kept is not None
    assert len(kept) < 1_000
    assert not re.search(rb"Ada", kept)


def stereo() -> bytes:
    signal, rate = samples.speech()
    return samples.wav(np.stack([signal, signal]), rate)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not a WAV", "invalid_format"),
        (b"", "invalid_format"),
        (stereo(), "invalid_format"),
        (samples.wav(np.zeros(96_000), 24_000), "sample_silent"),
        (samples.wav(np.zeros(100), 24_000), "sample_silent"),
        (bytes(11 << 20), "sample_too_large"),
    ],
    ids=["text", "empty", "stereo", "silence", "an instant", "eleven megabytes"],
)
async def test_a_sample_that_cannot_be_matched_is_rejected(
    data: bytes, code: str, provider: LocalProvider
) -> None:
    with pytest.raises(ProviderError) as refused:
        await provider.enroll(request(data))
    assert (refused.value.kind, refused.value.code) == (ErrorKind.REJECTED, code)
    assert await provider.find("l1") is None


@pytest.mark.parametrize(
    ("speech_request", "code"),
    [
        (speech(text=" \n\t"), "text_empty"),
        (speech(text="\x00\x07"), "text_empty"),
        (speech(text="a" * 2_001), "text_too_long"),
        (speech(model="another-model"), "model_mismatch"),
        (speech(language="tlh"), "language_unsupported"),
        (speech(label="other"), "voice_not_found"),
        (speech(label="../../etc/x"), "voice_not_found"),
    ],
)
async def test_speech_that_cannot_be_made_is_rejected(
    speech_request: SpeechRequest, code: str, provider: LocalProvider
) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    with pytest.raises(ProviderError) as refused:
        await provider.synthesize(speech_request)
    assert (refused.value.kind, refused.value.code) == (ErrorKind.REJECTED, code)


async def test_the_longest_text_is_spoken(provider: LocalProvider) -> None:
    await provider.enroll(request(samples.recording().read_bytes()))
    text = (TEXT + " ") * (2_000 // (len(TEXT) + 1))
    with wave.open(io.BytesIO(await provider.synthesize(speech(text=text)))) as file:
        assert file.getnframes() > 60 * 24_000


class MemoryProfiles:
    """Responds at once."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes) -> None:
        self._kept[key] = data

    async def get(self, key: str) -> bytes | None:
        return self._kept.get(key)

    async def list(self, prefix: str = "") -> list[str]:
        return [key for key in self._kept if key.startswith(prefix)]

    async def list_page(self, offset: int, limit: int) -> Sequence[str]:
        return sorted(self._kept)[offset : offset + limit]

    async def delete(self, key: str) -> None:
        self._kept.pop(key, None)


async def test_a_worker_killed_amid_its_job_costs_that_call_only(workers: LocalProvider) -> None:
    provider = LocalProvider(MemoryProfiles())
    provider.pool = workers.pool
    await provider.enroll(request(samples.recording().read_bytes()))
    (worker,) = provider.pool.process_ids
    os.kill(worker, signal.SIGSTOP)  # so that it cannot answer
    call = asyncio.create_task(provider.synthesize(speech()))
    await asyncio.sleep(0)  # the call goes on to where it waits for the worker
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(ProviderError) as failed:
        await call
    assert (failed.value.kind, failed.value.code) == (ErrorKind.UNAVAILABLE, "inference_failed")
    assert len(await said(provider, speech())) > 24_000
