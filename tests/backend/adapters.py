"""Each remote provider's adapter against the simulator, made by name."""

from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from backend.providers.base import EnrollRequest, Sample, SpeechRequest, VoiceProvider
from backend.providers.cartesia.adapter import Cartesia
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.qwen.adapter import Qwen
from backend.providers.reference.adapter import Reference
from backend.web.http_client import HttpClient
from tests.backend.profiles import DirectoryProfiles
from tests.simulators import BytesSample, Simulator, spoken_sample

TEXT = "Good morning, this is my own voice speaking."


class MemorySamples:
    """Samples by their paths; one that raises is an outage."""

    def __init__(self) -> None:
        self.kept: dict[str, BytesSample] = {}
        self.outage: Exception | None = None

    async def find(self, path: str) -> Sample | None:
        if self.outage:
            raise self.outage
        return self.kept.get(path)

    def keep(self, path: str, data: bytes | None = None) -> BytesSample:
        self.kept[path] = BytesSample(data or spoken_sample(), path=path)
        return self.kept[path]


def reference(
    providers: Simulator,
    client: HttpClient,
    name: str = "modal",
    samples: MemorySamples | None = None,
    **how: object,
) -> Reference:
    """With the sample `sample.wav`, unless samples are given."""
    if samples is None:
        samples = MemorySamples()
        samples.keep("sample.wav")
    profiles = DirectoryProfiles(Path(mkdtemp(prefix="likeness-profiles-")))
    return Reference(providers.reference(name, **how), client, samples, profiles)


def _base(url: str | None) -> dict[str, str]:
    return {"base_url": url} if url else {}


ADAPTERS: dict[str, Callable[..., VoiceProvider]] = {
    "qwen": lambda providers, client, url=None, **how: Qwen(
        providers.qwen(send_sample_as="data_url", **_base(url and f"{url}/singapore"), **how), client
    ),
    "elevenlabs": lambda providers, client, url=None, **how: ElevenLabs(
        providers.elevenlabs(**_base(url), **how), client
    ),
    "cartesia": lambda providers, client, url=None, **how: Cartesia(
        providers.cartesia(**_base(url), **how), client
    ),
    "pipecat": lambda providers, client, url=None, **how: reference(
        providers, client, "pipecat", **({"url": url} if url else {}), **how
    ),
    "modal": lambda providers, client, url=None, **how: reference(
        providers, client, "modal", **({"url": url} if url else {}), **how
    ),
}
VENDORS = ("qwen", "elevenlabs", "cartesia")  # that keep voices, so that a create may have an unknown outcome
SELF_HOSTED = ("pipecat", "modal")


def enrolling(label: str, sample: Sample | None = None, **changes: str) -> EnrollRequest:
    given = {"name": "Ada", "language": "en", "transcript": None, **changes}
    return EnrollRequest(label=label, sample=sample or BytesSample(spoken_sample()), **given)


def speaking(voice_id: str, target_model: str, text: str = TEXT, language: str = "en") -> SpeechRequest:
    return SpeechRequest(provider_voice_id=voice_id, target_model=target_model, text=text, language=language)
