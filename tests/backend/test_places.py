"""The region or the account of the settings changes: each step waits and says so; nothing is made twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from backend.context import AppContext
from backend.database.caller import Caller
from backend.lifecycle.custom_voice import NewCustomVoice, use_custom_voice
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.preview import render_preview
from backend.lifecycle.runtime_sync import sync_runtime
from backend.lifecycle.slots import place
from backend.lifecycle.verification import verify_attempt
from backend.providers.base import ErrorKind, ProviderError
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.places import find_provider
from backend.providers.problems import as_speech_error
from backend.settings import load_settings
from backend.settings.accounts import fingerprint
from backend.settings.sections import SettingsError
from backend.web.http_client import HttpClient
from tests.backend.storages import embedded_storage
from tests.backend.test_settings import COMPLETE, QWEN
from tests.backend.workers import PROVIDER, Workers, workers
from tests.fixture import Fixture
from tests.simulators import CARTESIA_KEY, ELEVENLABS_KEY, Simulator

CHANGED = "provider_account_changed"


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Workers]:
    providers.reset()
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, providers, storage.url) as started,
    ):
        yield started


@pytest.fixture
async def moved(worker: Workers, providers: Simulator) -> AsyncIterator[AppContext]:
    """The context of a service with a key of another account."""
    async with HttpClient() as http:
        other = ElevenLabs(providers.elevenlabs(account="another"), http)
        other.accounts = ("another",)  # the simulator has one key, whose fingerprint is always a name
        yield msgspec.structs.replace(worker.context, providers={PROVIDER: other})


async def test_an_open_create_is_not_looked_up_in_another_account(
    worker: Workers, moved: AppContext, providers: Simulator
) -> None:
    providers.fault(PROVIDER, "create", "bad_gateway", after_commit=True)
    await process_attempt(worker.context, worker.attempt)
    for _ in range(8):  # more than a budget
        worker.pass_time()
        await process_attempt(moved, worker.attempt)
        row = worker.row
        assert (row["status"], row["process_count"], row["error_code"]) == ("queued", 0, CHANGED)
    assert providers.calls(PROVIDER, "list") == []
    (enrollment,) = worker.enrollments()
    assert (enrollment["status"], enrollment["account"]) == ("unknown", fingerprint(PROVIDER, ELEVENLABS_KEY))
    worker.pass_time()
    await process_attempt(worker.context, worker.attempt)
    assert worker.row["status"] == "ready"
    assert len(providers.voices(PROVIDER)) == 1


async def test_a_queued_attempt_of_another_region_waits(worker: Workers, providers: Simulator) -> None:
    worker.given.superuser.execute("update public.voice_clone_attempts set region = 'eu'")
    await process_attempt(worker.context, worker.attempt)
    row = worker.row
    assert (row["status"], row["process_count"]) == ("queued", 0)
    assert row["error_code"] == "provider_region_changed"
    assert providers.calls(PROVIDER, "create") == []


async def test_a_queued_attempt_with_nothing_at_the_provider_uses_the_new_account(
    worker: Workers, moved: AppContext
) -> None:
    await process_attempt(moved, worker.attempt)
    assert (worker.row["status"], worker.row["account"]) == ("ready", "another")


async def test_a_ready_voice_is_synced_and_previewed_in_its_account_only(
    worker: Workers, moved: AppContext, providers: Simulator
) -> None:
    providers.fault(PROVIDER, "get", "unavailable")
    await process_attempt(worker.context, worker.attempt)
    asked = len(providers.calls(PROVIDER, "get"))
    worker.pass_time()
    await sync_runtime(moved, worker.attempt)
    row = worker.row
    assert (row["runtime_status"], row["sync_count"], row["error_code"]) == ("pending", 0, CHANGED)
    assert len(providers.calls(PROVIDER, "get")) == asked
    worker.pass_time()
    await sync_runtime(worker.context, worker.attempt)
    await render_preview(moved, worker.attempt)
    row = worker.row
    assert (row["preview_status"], row["preview_count"], row["error_code"]) == ("required", 0, CHANGED)
    assert providers.calls(PROVIDER, "speech") == []
    worker.pass_time()
    await render_preview(worker.context, worker.attempt)
    assert worker.row["preview_status"] == "rendered"


async def test_a_verification_is_polled_in_its_account_only(
    worker: Workers, moved: AppContext, providers: Simulator
) -> None:
    providers.fault(PROVIDER, "create", "verification_required")
    await process_attempt(worker.context, worker.attempt)
    await verify_attempt(moved, worker.attempt)
    assert (worker.row["status"], worker.row["error_code"]) == ("verifying", CHANGED)
    assert providers.calls(PROVIDER, "get") == []
    providers.verify(worker.row["provider_voice_id"])
    worker.pass_time()
    await verify_attempt(worker.context, worker.attempt)
    assert (worker.row["status"], worker.row["error_code"]) == ("ready", None)


async def test_a_voice_keeps_its_account_for_speech(worker: Workers, moved: AppContext) -> None:
    await process_attempt(worker.context, worker.attempt)
    voice = worker.given.truth("select * from public.voices where attempt_id = %s", worker.attempt)
    where = (voice["tts_provider"], voice["provider_region"], voice["provider_account"])
    assert find_provider(worker.context.providers, *where) is worker.provider
    with pytest.raises(ProviderError) as caught:
        find_provider(moved.providers, *where)
    problem = as_speech_error(caught.value)
    assert (problem.status, problem.code, "Retry-After" in problem.headers) == (503, CHANGED, True)


async def test_slots_are_those_of_the_account(worker: Workers, moved: AppContext) -> None:
    await process_attempt(worker.context, worker.attempt)
    count = "select voice_clone.count_enrolled_voices(%s, %s, 10, %s) as count"
    for provider, held in ((worker.provider, 1), (moved.providers[PROVIDER], 0)):
        where = place(provider)
        row = worker.given.one(count, where["provider"], where["region"], where["accounts"])
        assert row["count"] == held


def accounts(**settings: str) -> tuple[str, ...]:
    config = load_settings({**COMPLETE, **QWEN, **settings}).providers.qwen
    assert config is not None
    return config.accounts


def test_an_account_is_named_by_its_key_or_by_the_operator() -> None:
    (default,) = accounts()
    assert len(default) == 12
    assert QWEN["QWEN_API_KEY"] not in default
    assert accounts(QWEN_ACCOUNT="acme") == ("acme", default)
    assert accounts(QWEN_ACCOUNT=" acme , old-1 ") == ("acme", "old-1", default)
    (replaced,) = accounts(QWEN_API_KEY="sk-another")
    assert replaced != default
    assert default in accounts(QWEN_API_KEY="sk-another", QWEN_ACCOUNT=f"acme,{default}")
    assert accounts(QWEN_WORKSPACE_ID="ws-1") != (default,)


def test_the_account_of_cartesia_is_named_in_the_same_way() -> None:
    def names(**settings: str) -> tuple[str, ...]:
        config = load_settings({**COMPLETE, "CARTESIA_API_KEY": CARTESIA_KEY, **settings}).providers.cartesia
        assert config is not None
        return config.accounts

    (default,) = names()
    assert default == fingerprint("cartesia", CARTESIA_KEY)
    assert names(CARTESIA_ACCOUNT=" acme , old-1 ") == ("acme", "old-1", default)
    assert default in names(CARTESIA_API_KEY="another", CARTESIA_ACCOUNT=f"acme,{default}")
    for name in (CARTESIA_KEY, "a b", "ä"):
        with pytest.raises(SettingsError, match="CARTESIA_ACCOUNT") as caught:
            names(CARTESIA_ACCOUNT=name)
        assert CARTESIA_KEY not in str(caught.value)


@pytest.mark.parametrize("name", [QWEN["QWEN_API_KEY"], "sk-9", "a b", "ä", "x" * 65, "a,'b'"])
def test_a_name_that_is_a_key_or_no_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="QWEN_ACCOUNT") as caught:
        accounts(QWEN_ACCOUNT=name)
    assert QWEN["QWEN_API_KEY"] not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ((PROVIDER, "", None), None),
        ((PROVIDER, "", ""), None),
        (("nobody", "", None), "provider_not_configured"),
        ((PROVIDER, "eu", None), "provider_region_changed"),
        ((PROVIDER, "", "strange"), "provider_account_changed"),
    ],
)
async def test_each_mismatch_has_its_code(
    worker: Workers, place: tuple[str, str, str | None], code: str | None
) -> None:
    if code is None:
        assert find_provider(worker.context.providers, *place) is worker.provider
        return
    with pytest.raises(ProviderError) as caught:
        find_provider(worker.context.providers, *place)
    assert (caught.value.kind, caught.value.code) == (ErrorKind.MISPLACED, code)


async def test_a_custom_voice_is_in_the_account_in_which_it_was_found(
    worker: Workers, moved: AppContext
) -> None:
    await process_attempt(worker.context, worker.attempt)
    voice = worker.row["provider_voice_id"]
    new = NewCustomVoice(provider=PROVIDER, provider_voice_id=voice, name="Ada", language="en")
    reflection = worker.given.reflection(worker.user)
    caller = Caller(user_id=worker.user, claims="{}", token="")
    used = await use_custom_voice(worker.context, caller, reflection, new)
    await process_attempt(moved, used.id)
    row = worker.given.attempt(used.id)
    assert (row["status"], row["error_code"]) == ("queued", CHANGED)
    await process_attempt(worker.context, used.id, early=True)
    row = worker.given.attempt(used.id)
    assert (row["status"], row["account"]) == ("ready", worker.provider.accounts[0])
