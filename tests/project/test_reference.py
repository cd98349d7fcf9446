"""docs/reference.md against the code: every row is true, and nothing is missing."""

from typing import Any

import msgspec
import psycopg
import pytest

from backend.lifecycle.values import Blocker, Provider
from backend.providers.base import Limits
from backend.providers.cartesia.adapter import Cartesia
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.local.adapter import LocalProvider
from backend.providers.qwen.adapter import Qwen
from backend.providers.reference.adapter import Reference
from backend.settings import Settings, load_settings
from backend.settings.database import DatabaseSettings
from backend.settings.enrollments import EnrollmentSettings
from backend.settings.sections import Section, SettingsError
from queue_consumers.settings import ConsumerSettings, ServiceSettings
from scripts.migrations import ROOT
from tests.clusters import Database
from tests.documented import SETTINGS
from tests.project.documents import inline_code, section, table_rows
from tests.project.test_log_events import log_levels

REFERENCE = ROOT / "docs" / "reference.md"
KEYS = {
    "QWEN_API_KEY": "sk-0123456789", "QWEN_REGION": "singapore", "ELEVENLABS_API_KEY": "key",
    "CARTESIA_API_KEY": "key",
}  # fmt: skip
SERVICE = [each.type for each in msgspec.structs.fields(Settings)]
CONSUMERS = [DatabaseSettings, ServiceSettings, EnrollmentSettings, ConsumerSettings]


def rows(heading: str) -> list[list[str]]:
    return table_rows(section(REFERENCE, heading))


def names(heading: str) -> list[str]:
    return [name for row in rows(heading) for name in inline_code(row[0])]


def fields(sections: list[type[Section]]) -> dict[str, Any]:
    return {each.encode_name: each.default for kind in sections for each in msgspec.structs.fields(kind)}


def missing() -> set[str]:
    """The settings without which nothing starts."""
    with pytest.raises(SettingsError) as raised:
        load_settings({})
    return {each.partition(" ")[0] for each in raised.value.problems if each.endswith("is missing")}


def shown(default: object) -> str:
    if default in ("", None) or default is msgspec.NODEFAULT:
        return ""
    text = f"{default:g}" if isinstance(default, float) else str(default)
    return f"`{text.lower() if isinstance(default, bool) else text}`"


def test_each_setting_has_its_default_and_the_processes_that_read_it() -> None:
    service, consumers = fields(SERVICE), fields(CONSUMERS)
    required = missing()
    wanted = {
        f"`{name}`": (
            "required" if name in required else shown(default),
            ", ".join(
                process
                for process, found in (("service", service), ("consumers", consumers))
                if name in found
            ),
        )
        for name, default in (consumers | service).items()
    }
    assert {row[0]: (row[1], row[2]) for row in rows("Settings")} == wanted
    assert len(rows("Settings")) == len(wanted)


def test_each_blocker_is_listed_once() -> None:
    assert sorted(names("Blockers")) == sorted(Blocker)


def test_each_event_of_an_attempt_is_listed_once(database: Database) -> None:
    """Those of the edges, and the names where no edge was taken."""
    with psycopg.connect(database.postgres) as owner:
        edges = owner.execute(
            "select distinct event from voice_clone.edges where machine in ('status', 'runtime', 'preview')"
        ).fetchall()
        others = owner.execute(
            r"select m[1] from regexp_matches(pg_get_functiondef('voice_clone.append_event'::regproc),"
            r" '(?:then|else) ''\{?(\w+)\}?''', 'g') m"
        ).fetchall()
    assert len(others) == 4
    assert sorted(names("Events")) == sorted(name for (name,) in {*edges, *others})


def test_each_log_event_is_listed_once_with_its_levels() -> None:
    listed = rows("Log events")
    assert {inline_code(row[0])[0]: set(row[1].split(", ")) for row in listed} == log_levels()
    assert len(listed) == len(log_levels())


def limits() -> dict[str, dict[str, Limits]]:
    """Of each provider; where they depend on how it gets the sample, or on the model, under each name."""
    providers = load_settings({**SETTINGS, **KEYS}).providers
    assert providers.qwen and providers.elevenlabs and providers.cartesia  # noqa: PT018
    nothing: Any = None  # no adapter calls anybody for its limits
    qwen = {
        how: Qwen(msgspec.structs.replace(providers.qwen, send_sample_as=how), nothing).limits
        for how in ("signed_url", "data_url")
    }
    return {
        "local": {"": LocalProvider.limits},
        "qwen": qwen,
        "elevenlabs": {"": ElevenLabs(providers.elevenlabs, nothing).limits},
        "cartesia": {"": Cartesia(providers.cartesia, nothing).limits},
        "pipecat": {"": Reference.limits},
        "modal": {"": Reference.limits},
    }


def limit_row(name: str, found: dict[str, Limits]) -> list[str]:
    one = next(iter(found.values()))
    size = {how: f"{each.max_bytes:,}" for how, each in found.items()}
    characters = {"": f"{one.max_characters:,}"}
    if one.max_characters_by_model:
        characters = {model: f"{most:,}" for model, most in one.max_characters_by_model.items()}
    return [
        f"`{name}`",
        f"{one.min_seconds:g} to {one.max_seconds:g}",
        f"{one.min_voiced_seconds:g}",
        by_name(size),
        f"{one.min_sample_rate:,}",
        by_name(characters),
        f"{one.slots:,}" if one.slots else "",
    ]


def by_name(values: dict[str, str]) -> str:
    return ", ".join(f"{value} (`{name}`)" if name else value for name, value in values.items())


def languages(found: dict[str, Limits]) -> str:
    spoken = next(iter(found.values())).languages
    return "any" if spoken is None else ", ".join(sorted(spoken))


def test_the_limits_of_each_provider_are_those_of_its_adapter() -> None:
    assert set(limits()) == set(Provider)
    wanted = [limit_row(name, found) for name, found in limits().items()]
    wanted += [[f"`{name}`", languages(found)] for name, found in limits().items()]
    assert rows("Limits of each provider") == wanted
