"""Settings: every fault is named at once, and .env.example documents each of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import queue_consumers.settings as consumer_settings
from backend.app.queues import QUEUES
from backend.settings import load_settings
from backend.settings.sections import Section, SettingsError

EXAMPLE = Path(__file__).parents[2] / ".env.example"
COMPLETE = {
    "DATABASE_URL": "postgresql://voice_clone_service:secret@127.0.0.1:5432/postgres",
    "SUPABASE_URL": "https://project.supabase.co/",
    "SUPABASE_SECRET_KEY": "sb_secret_0123456789",
    "INTERNAL_TOKEN": "t" * 32,
}
# OpenTelemetry's SDK reads them itself.
READ_BY_THE_SDK = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_SDK_DISABLED",
}
QWEN = {"QWEN_API_KEY": "sk-0123456789", "QWEN_REGION": "singapore"}


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load_settings({**COMPLETE, **changes})
    return raised.value.problems


def documented() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def read_by_code() -> dict[str, list[msgspec.structs.FieldInfo]]:
    assert consumer_settings.Section is Section
    names: dict[str, list[msgspec.structs.FieldInfo]] = {}
    for section in sections(Section):
        for setting in msgspec.structs.fields(section):
            names.setdefault(setting.encode_name, []).append(setting)
    return names


def sections(base: type[Section]) -> Iterator[type[Section]]:
    for section in base.__subclasses__():
        yield section
        yield from sections(section)


def test_example_documents_every_setting_and_nothing_else() -> None:
    assert set(documented()) == set(read_by_code()) | READ_BY_THE_SDK


def test_example_shows_the_defaults() -> None:
    for name, text in documented().items():
        assert not text or name not in READ_BY_THE_SDK
        for setting in read_by_code().get(name, ()):
            if text:
                shown = msgspec.convert(text, setting.type, strict=False)
                assert shown == setting.default, name
            else:
                assert setting.required or setting.default in ("", None), name


def test_what_follows_from_the_project_is_filled_in() -> None:
    settings = load_settings(COMPLETE)
    assert settings.supabase.url == "https://project.supabase.co"
    assert settings.supabase.jwks_url == "https://project.supabase.co/auth/v1/.well-known/jwks.json"
    assert settings.supabase.jwt_issuer == "https://project.supabase.co/auth/v1"
    assert settings.server.service_url == "http://127.0.0.1:8000"
    assert settings.providers.qwen is None
    assert settings.providers.elevenlabs is None


def test_an_empty_value_counts_as_absent() -> None:
    assert load_settings({**COMPLETE, "PORT": " ", "PREVIEW_REQUIRED": ""}).server.port == 8000
    assert "SUPABASE_SECRET_KEY is missing" in problems(SUPABASE_SECRET_KEY="")


def test_text_becomes_numbers_switches_and_lists() -> None:
    settings = load_settings(
        {
            **COMPLETE,
            "PORT": "9000",
            "PREVIEW_REQUIRED": "false",
            "DATABASE_PREPARE_THRESHOLD": "5",
            "CORS_ORIGINS": "https://a.example, https://b.example",
        }
    )
    assert settings.server.port == 9000
    assert settings.attempts.preview_required is False
    assert settings.database.prepare_threshold == 5
    assert settings.server.allowed_origins == ["https://a.example", "https://b.example"]


def test_every_fault_is_named_at_once() -> None:
    found = problems(
        DATABASE_URL="postgresql://postgres:secret@db.example/postgres",
        SUPABASE_URL="project.supabase.co",
        SUPABASE_SECRET_KEY="",
        SUPABASE_JWT_SECRET="short",
        INTERNAL_TOKEN="too-short",
        VOICE_PROVIDER="parrot",
        PORT="many",
        QWEN_API_KEY="sk-0123456789",
        LOG_FORMAT="xml",
    )
    for name in (
        *("DATABASE_URL", "SUPABASE_URL", "SUPABASE_SECRET_KEY", "SUPABASE_JWT_SECRET", "INTERNAL_TOKEN"),
        *("VOICE_PROVIDER", "PORT", "LOG_FORMAT", "QWEN_REGION"),
    ):
        assert any(name in problem for problem in found), (name, found)
    assert any("local, qwen, elevenlabs, cartesia, pipecat, modal" in problem for problem in found)
    assert len(found) == 9, found


def test_without_a_project_no_token_can_be_verified() -> None:
    found = problems(SUPABASE_URL="")
    assert len(found) == 2, found
    assert found[1].startswith("SUPABASE_JWT_SECRET or SUPABASE_JWKS_URL is needed")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"QWEN_API_KEY": "sk-0123456789"}, "QWEN_REGION is missing"),
        ({"QWEN_REGION": "beijing"}, "QWEN_API_KEY is missing"),
        ({**QWEN, "QWEN_REGION": "paris"}, "QWEN_REGION 'paris' is unknown"),
        ({**QWEN, "QWEN_BASE_URL": "https://dashscope.aliyuncs.com"}, "QWEN_BASE_URL is in Beijing"),
        ({"VOICE_PROVIDER": "qwen"}, "QWEN_API_KEY is missing"),
        ({"VOICE_PROVIDER": "elevenlabs"}, "ELEVENLABS_API_KEY is missing"),
        ({"VOICE_PROVIDER": "cartesia"}, "CARTESIA_API_KEY is missing"),
        ({"VOICE_PROVIDER": "pipecat"}, "PIPECAT_URL is missing"),
        ({"VOICE_PROVIDER": "modal"}, "MODAL_URL is missing"),
        ({"MODAL_URL": "https://voice.example"}, "MODAL_API_KEY is missing"),
        ({"INTERNAL_TOKEN": "t" * 31}, "INTERNAL_TOKEN is weak"),
        ({"SUPABASE_JWT_SECRET": "s" * 31}, "SUPABASE_JWT_SECRET is weak"),
        ({"SUPABASE_JWKS_URL": "off"}, "SUPABASE_JWT_SECRET or SUPABASE_JWKS_URL is needed"),
        (
            {"DATABASE_URL": "host=db user=postgres.abcdef"},
            "DATABASE_URL logs in as postgres.abcdef, an owner",
        ),
        ({"DATABASE_URL": "postgresql//nonsense"}, "DATABASE_URL is not a Postgres connection string"),
        ({"MAX_JOBS": "0"}, "MAX_JOBS: Expected `int` >= 1"),
        ({"MAX_JOBS": "2"}, "MAX_JOBS_PER_USER is more than MAX_JOBS"),
        ({"CORS_ORIGINS": "example.com"}, "CORS_ORIGINS is not an http(s) URL"),
    ],
)
def test_one_fault_is_named(changes: dict[str, str], fault: str) -> None:
    assert any(problem.startswith(fault) for problem in problems(**changes)), problems(**changes)


def test_faults_and_representations_show_no_secret() -> None:
    secrets = {"SUPABASE_SECRET_KEY": "sb_secret_shown", "INTERNAL_TOKEN": "shown", "QWEN_API_KEY": "shown"}
    assert "shown" not in str(problems(**secrets))
    settings = load_settings({**COMPLETE, **QWEN, "SUPABASE_JWT_SECRET": "s" * 32})
    for secret in (*COMPLETE.values(), *QWEN.values(), "s" * 32):
        assert secret not in repr(settings)


SETTLE = {
    "PROVIDER_CREATE_SECONDS": "100",
    "PROVIDER_LISTING_LAG_SECONDS": "20",
    "ENROLLMENT_SETTLE_SECONDS": "120",
}


@pytest.mark.parametrize(
    "provider", [{}, QWEN, {"ELEVENLABS_API_KEY": "a-key"}, {"CARTESIA_API_KEY": "a-key"}]
)
def test_a_create_that_outlasts_its_settling_is_refused(provider: dict[str, str]) -> None:
    (problem,) = problems(**SETTLE, **provider)
    for name in SETTLE:
        assert name in problem
    settings = load_settings({**COMPLETE, **SETTLE, **provider, "ENROLLMENT_SETTLE_SECONDS": "121"})
    for config in (settings.providers.qwen, settings.providers.elevenlabs, settings.providers.cartesia):
        assert config is None or (config.create_seconds, config.listing_lag_seconds) == (100, 20)


def test_the_consumers_refuse_it_as_well() -> None:
    queues = list(QUEUES.values())
    with pytest.raises(SettingsError) as raised:
        consumer_settings.load_settings(queues, {**COMPLETE, **SETTLE, "SERVICE_URL": "http://127.0.0.1:1"})
    (problem,) = raised.value.problems
    assert "ENROLLMENT_SETTLE_SECONDS (120)" in problem


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"HOST": "0.0.0.0", "PORT": "9000"}, "http://127.0.0.1:9000"),  # noqa: S104
        ({"HOST": "::1"}, "http://[::1]:8000"),
        ({"SERVICE_URL": "http://service:8000/"}, "http://service:8000"),
    ],
)
def test_the_consumers_call_the_service_of_their_machine_unless_an_address_is_set(
    settings: dict[str, str], url: str
) -> None:
    found = consumer_settings.load_settings(list(QUEUES.values()), {**COMPLETE, **settings}).service
    assert found is not None
    assert found.url == url == load_settings({**COMPLETE, **settings}).server.service_url


def test_a_signed_url_of_qwen_outlasts_the_create() -> None:
    slow = {**SETTLE, "PROVIDER_CREATE_SECONDS": "600", "ENROLLMENT_SETTLE_SECONDS": "700"}
    config = load_settings({**COMPLETE, **slow, **QWEN}).providers.qwen
    assert config is not None
    assert config.signed_url_seconds > 600


def test_allowed_networks_are_networks() -> None:
    settings = load_settings({**COMPLETE, "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8, fd00::/8"})
    assert [str(network) for network in settings.network.allowed] == ["127.0.0.0/8", "fd00::/8"]
    for wrong in ("localhost", "127.0.0.1/8", "10.0.0.0/8 127.0.0.0/8"):
        assert any("ALLOWED_PRIVATE_NETWORKS" in each for each in problems(ALLOWED_PRIVATE_NETWORKS=wrong))
