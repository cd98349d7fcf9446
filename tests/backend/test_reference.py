"""The adapter of a self-hosted model: what the model gets, and what a lost sample or an outage leads to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backend.providers.base import ErrorKind, ProviderError, SpeechRequest, new_label
from backend.providers.reference.adapter import Reference, ReferenceConfig
from backend.providers.wav import pcm_wav
from backend.web.http_client import HttpClient
from scripts.local.simulator.audio import analyze
from scripts.local.simulator.forms import parse_form
from scripts.local.simulator.http import Request, Response, Server
from tests.backend.adapters import MemorySamples, enrolling, speaking
from tests.backend.profiles import DirectoryProfiles
from tests.simulators import MODAL_KEY, Simulator, assert_is_speech, spoken_sample

PATH = "b3a1c0de-0000-4000-8000-000000000001/b3a1c0de-0000-4000-8000-000000000002/prepared.wav"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


class Store(DirectoryProfiles):
    """Profiles in a directory, and an outage on request."""

    outage: Exception | None = None

    async def put(self, key: str, data: bytes) -> None:
        if self.outage:
            raise self.outage
        await super().put(key, data)

    async def get(self, key: str) -> bytes | None:
        if self.outage:
            raise self.outage
        return await super().get(key)


@pytest.fixture
def samples() -> MemorySamples:
    made = MemorySamples()
    made.keep(PATH)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def modal(providers: Simulator, client: HttpClient, samples: MemorySamples, store: Store) -> Reference:
    providers.reset()
    return Reference(providers.reference("modal"), client, samples, store)


@pytest_asyncio.fixture
async def model() -> AsyncIterator["Model"]:
    made = Model()
    server = Server(made.handle)
    made.url = f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}"
    yield made
    await server.close()


class Model:
    """Keeps what it is asked, and answers as it is told: `check` where no audio came, else `speech`."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Request] = []
        self.check = Response(status=422)
        self.speech = Response(body=pcm_wav(spoken_sample()[44:], 24_000))

    async def handle(self, request: Request) -> Response:
        self.asked.append(request)
        return self.speech if b'name="audio"' in request.body else self.check

    def config(self, **changes: str) -> ReferenceConfig:
        return ReferenceConfig(**{"name": "modal", "url": self.url, "api_key": MODAL_KEY, **changes})  # pyright: ignore[reportArgumentType]


async def enrolled(provider: Reference, samples: MemorySamples, **changes: str) -> SpeechRequest:
    voice = await provider.enroll(enrolling(new_label(), samples.kept[PATH], **changes))
    return speaking(voice.provider_voice_id, voice.target_model)


async def failure(provider: Reference, request: SpeechRequest) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await provider.synthesize(request)
    return raised.value


async def test_the_model_gets_the_sample_and_the_text_and_nothing_of_a_person(
    model: Model, client: HttpClient, samples: MemorySamples, store: Store
) -> None:
    provider = Reference(model.config(), client, samples, store)
    request = await enrolled(
        provider, samples, name="Ada Lovelace", language="de-AT", transcript="Guten\nTag."
    )
    assert_is_speech(await provider.synthesize(request))
    check, speech = model.asked
    for each in (check, speech):
        assert (each.method, each.path) == ("POST", "/synthesize")
        assert each.headers["authorization"] == f"Bearer {MODAL_KEY}"
    form = parse_form(speech)
    assert form.fields == {"text": request.text, "language": "en", "transcript": "Guten\nTag."}
    assert form.files == [("audio", samples.kept[PATH].data)]
    told = b"".join([repr(dict(speech.headers)).encode(), speech.body])
    for word in (b"Ada", b"Lovelace", PATH.partition("/")[0].encode(), request.provider_voice_id.encode()):
        assert word not in told


async def test_without_a_transcript_and_a_key_neither_is_sent(
    model: Model, client: HttpClient, samples: MemorySamples, store: Store
) -> None:
    provider = Reference(model.config(name="pipecat", api_key=""), client, samples, store)
    await provider.synthesize(await enrolled(provider, samples))
    assert "transcript" not in parse_form(model.asked[1]).fields
    assert "authorization" not in model.asked[1].headers


async def test_the_id_of_a_voice_names_neither_its_user_nor_its_sample(
    modal: Reference, samples: MemorySamples
) -> None:
    request = await enrolled(modal, samples)
    assert not set(request.provider_voice_id.split("-")) & set(PATH.replace("/", "-").split("-"))


@pytest.mark.parametrize("name", ["pipecat", "modal"])
async def test_a_voice_speaks_at_the_pitch_of_its_sample(
    providers: Simulator, client: HttpClient, samples: MemorySamples, store: Store, name: str
) -> None:
    provider, pitches = Reference(providers.reference(name), client, samples, store), []
    for pitch in (100.0, 200.0):
        samples.keep(PATH, spoken_sample(pitch=pitch))
        pitches.append(analyze(await provider.synthesize(await enrolled(provider, samples))).pitch)
    assert pitches[1] > 1.3 * pitches[0]


async def test_a_voice_whose_sample_is_gone_is_silent(
    providers: Simulator, modal: Reference, samples: MemorySamples
) -> None:
    request = await enrolled(modal, samples)
    samples.keep("another/prepared.wav")
    del samples.kept[PATH]
    error = await failure(modal, request)
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "sample_gone")
    assert providers.calls("modal", "speech") == []


async def test_a_voice_whose_sample_was_replaced_is_silent(
    model: Model, client: HttpClient, samples: MemorySamples, store: Store
) -> None:
    provider = Reference(model.config(), client, samples, store)
    request = await enrolled(provider, samples)
    samples.keep(PATH, spoken_sample(pitch=220.0))
    error = await failure(provider, request)
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "sample_gone")
    assert len(model.asked) == 1, "only the check was received whole"


async def test_an_outage_of_storage_is_no_loss_of_the_sample(
    modal: Reference, samples: MemorySamples, store: Store
) -> None:
    request = await enrolled(modal, samples)
    samples.outage = OSError("signed-and-secret")
    error = await failure(modal, request)
    assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "sample_unavailable")
    assert "secret" not in f"{error}{error.message}"
    samples.outage, store.outage = None, OSError("away")
    error = await failure(modal, request)
    assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "provider_unavailable")
    store.outage = None
    assert_is_speech(await modal.synthesize(request))


async def test_a_profile_that_may_have_been_stored_is_unknown_and_the_label_tells(
    modal: Reference, samples: MemorySamples, store: Store
) -> None:
    label = new_label()
    store.outage = TimeoutError()
    with pytest.raises(ProviderError) as raised:
        await modal.enroll(enrolling(label, samples.kept[PATH]))
    assert raised.value.kind is ErrorKind.UNKNOWN
    store.outage = None
    assert await modal.find(label) is None
    first = await modal.enroll(enrolling(label, samples.kept[PATH]))
    with pytest.raises(ProviderError) as raised:
        await modal.enroll(enrolling(label, samples.kept[PATH]))
    assert raised.value.kind is ErrorKind.UNKNOWN
    found = await modal.find(label)
    assert found
    assert found.provider_voice_id == first.provider_voice_id


async def test_two_models_do_not_see_the_voices_of_each_other(
    providers: Simulator, modal: Reference, client: HttpClient, samples: MemorySamples, store: Store
) -> None:
    pipecat = Reference(providers.reference("pipecat"), client, samples, store)
    request = await enrolled(modal, samples)
    assert [voice async for voice in pipecat.list()] == []
    assert await pipecat.describe(request.provider_voice_id) is None
    await pipecat.delete(request.provider_voice_id)
    assert (await failure(pipecat, request)).code == "voice_not_found"
    assert await modal.describe(request.provider_voice_id)


async def test_a_voice_of_another_contract_is_not_spoken_with(
    modal: Reference, samples: MemorySamples
) -> None:
    request = await enrolled(modal, samples)
    error = await failure(modal, speaking(request.provider_voice_id, "reference-0"))
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "model_mismatch")


CHECKS = [
    (400, None),
    (422, None),
    (200, ErrorKind.MISCONFIGURED),
    (302, ErrorKind.MISCONFIGURED),
    (401, ErrorKind.MISCONFIGURED),
    (403, ErrorKind.MISCONFIGURED),
    (404, ErrorKind.MISCONFIGURED),
    (405, ErrorKind.MISCONFIGURED),
    (413, ErrorKind.MISCONFIGURED),
    (415, ErrorKind.MISCONFIGURED),
    (429, ErrorKind.THROTTLED),
    (500, ErrorKind.UNAVAILABLE),
    (503, ErrorKind.UNAVAILABLE),
]


@pytest.mark.parametrize(("status", "kind"), CHECKS)
async def test_an_enrollment_checks_that_a_model_answers(
    model: Model,
    client: HttpClient,
    samples: MemorySamples,
    store: Store,
    status: int,
    kind: ErrorKind | None,
) -> None:
    model.check = Response(status=status)
    provider, label = Reference(model.config(), client, samples, store), new_label()
    if kind is None:
        assert (await provider.enroll(enrolling(label, samples.kept[PATH]))).provider_voice_id
        return
    with pytest.raises(ProviderError) as raised:
        await provider.enroll(enrolling(label, samples.kept[PATH]))
    assert raised.value.kind is kind
    assert await provider.find(label) is None


REFUSALS = [
    (422, "text_empty", ErrorKind.REJECTED, "text_empty"),
    (422, "text_too_long", ErrorKind.REJECTED, "text_too_long"),
    (422, "text_rejected", ErrorKind.REJECTED, "text_rejected"),
    (422, "language_unsupported", ErrorKind.REJECTED, "language_unsupported"),
    (422, "sample_rejected", ErrorKind.REJECTED, "sample_rejected"),
    (422, "never_heard_of", ErrorKind.REJECTED, "provider_rejected"),
    (413, "", ErrorKind.REJECTED, "sample_too_large"),
    (401, "key_refused", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (404, "", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (429, "overloaded", ErrorKind.THROTTLED, "provider_throttled"),
    (500, "inference_failed", ErrorKind.UNAVAILABLE, "inference_failed"),
    (500, "", ErrorKind.UNAVAILABLE, "provider_unavailable"),
    (503, "starting", ErrorKind.UNAVAILABLE, "provider_unavailable"),
]


@pytest.mark.parametrize(("status", "code", "kind", "ours"), REFUSALS)
async def test_each_problem_has_its_kind(
    providers: Simulator,
    modal: Reference,
    samples: MemorySamples,
    status: int,
    code: str,
    kind: ErrorKind,
    ours: str,
) -> None:
    request = await enrolled(modal, samples)
    providers.fault("modal", "speech", "error", status=status, code=code, message="said by the model")
    error = await failure(modal, request)
    assert (error.kind, error.code, error.status) == (kind, ours, status)
    assert error.request_id
    assert "model" not in error.message


BODIES = [b"", b"RIFF", b"<html>", pcm_wav(b"", 24_000), b'{"audio": "x"}']


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_an_answer_without_audio_is_no_speech(
    model: Model, client: HttpClient, samples: MemorySamples, store: Store, body: bytes
) -> None:
    model.speech = Response(body=body, headers={"x-request-id": "of-the-model"})
    provider = Reference(model.config(), client, samples, store)
    error = await failure(provider, await enrolled(provider, samples))
    assert (error.code, error.request_id) == ("inference_failed", "of-the-model")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"name": "pipecat", "url": "http://10.0.0.7:9000", "api_key": ""}, ""),
        ({"url": "https://me--voice.modal.run/synthesize"}, ""),
        ({"url": ""}, "MODAL_URL is missing"),
        ({"url": "voice.modal.run"}, "not a plain http(s) URL"),
        ({"url": "https://user:pass@voice.modal.run"}, "not a plain http(s) URL"),
        ({"url": "http://me--voice.modal.run"}, "must be https"),
        ({"api_key": ""}, "MODAL_API_KEY is missing"),
        ({"name": "pipecat", "api_key": "x "}, "PIPECAT_API_KEY has spaces"),
    ],
)
def test_a_configuration_that_cannot_work_is_named(changes: dict[str, str], problem: str) -> None:
    given = {"name": "modal", "url": "https://me--voice.modal.run", "api_key": "k"}
    config = ReferenceConfig(**{**given, **changes})  # pyright: ignore[reportArgumentType]
    assert bool(config.problems()) == bool(problem)
    assert problem in " ".join(config.problems())
    assert config.base + "/synthesize" == (config.url.removesuffix("/synthesize") + "/synthesize")
