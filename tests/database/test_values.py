"""The values that the OpenAPI document names are those of the database's checks."""

import re
from enum import StrEnum
from typing import get_args

import pytest

from backend.lifecycle import values
from backend.settings.providers import ProviderName
from tests.fixture import Fixture

CHECKS: dict[tuple[str, str], type[StrEnum]] = {
    ("voice_clone_attempts", "status"): values.CloneStatus,
    ("voice_clone_attempts", "runtime_status"): values.RuntimeStatus,
    ("voice_clone_attempts", "preview_status"): values.PreviewStatus,
    ("voice_clone_attempts", "source"): values.AttemptSource,
    ("speech_jobs", "status"): values.JobStatus,
    ("webhooks", "status"): values.WebhookStatus,
    ("webhook_deliveries", "status"): values.DeliveryStatus,
}
DEFINITION = """
    select pg_get_constraintdef(oid) as text from pg_constraint
    where contype = 'c' and conrelid = ('public.' || %s)::regclass and conname = %s || '_' || %s || '_check'
"""


@pytest.mark.one_postgres
@pytest.mark.parametrize(("table", "column"), CHECKS)
def test_a_column_has_the_values_of_the_document(given: Fixture, table: str, column: str) -> None:
    definition = given.truth(DEFINITION, table, table, column)["text"]
    assert set(re.findall(r"'([a-z_]+)'::text", definition)) == {*CHECKS[table, column]}


@pytest.mark.one_postgres
def test_a_mirror_and_a_gate_have_the_values_of_the_document(given: Fixture) -> None:
    active = given.truth(
        "select pg_get_constraintdef(oid) as text from pg_constraint where conname = %s",
        "voice_clone_attempts_active_status",
    )["text"]
    shown = set(re.findall(r"'([a-z_]+)'::text", active))
    assert shown | {"none"} == {*values.MirroredStatus}
    blockers = {
        blocker
        for status in values.CloneStatus
        for runtime in values.RuntimeStatus
        for preview in values.PreviewStatus
        for blocker in given.truth(
            "select voice_clone.launch_blockers(%s, %s, %s) as blockers", status, runtime, preview
        )["blockers"]
    }
    assert blockers | {"no_voice", "original_removed", "voice_lost", "voice_taken_down"} == {*values.Blocker}


def test_the_providers_are_those_of_the_settings() -> None:
    assert {*get_args(ProviderName)} == {*values.Provider}
