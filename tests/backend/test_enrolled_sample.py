"""Noise is removed once: who is asked to remove it gets the recording, everybody else the cleaned sample."""

from typing import Any
from uuid import uuid4

import msgspec
import pytest
from msgspec import structs

from backend.lifecycle.attempts import Work
from backend.lifecycle.enrolled_sample import RECORDING, enrolled_sample
from backend.providers.base import Limits

LIMITS = Limits(
    min_seconds=3,
    max_seconds=60,
    max_bytes=1_000,
    min_sample_rate=8_000,
    max_characters=1,
    removes_noise=True,
)
NOWHERE: Any = None  # nothing is read
GIVEN: dict[str, Any] = {
    "attempt_id": uuid4(), "owner_id": uuid4(), "voice_id": uuid4(), "source": RECORDING,
    "provider": "elevenlabs", "region": "", "name": "Bo", "language": "en",
    "path": "a/prepared.wav", "bytes": 500,
    "original_path": "a/sample.wav", "original_bytes": 1_000, "original_type": "audio/wav",
    "process_count": 1, "sync_count": 0, "preview_count": 0, "waiting_seconds": 0.0,
}  # fmt: skip
WORK = msgspec.convert(dict.fromkeys(Work.__struct_fields__) | GIVEN, Work)


@pytest.mark.parametrize(
    ("changes", "removes_noise", "expected"),
    [
        ({}, True, ("a/sample.wav", 1_000, True)),
        ({}, False, ("a/prepared.wav", 500, False)),
        ({"source": "sample"}, True, ("a/prepared.wav", 500, False)),
        ({"source": "operator_move"}, True, ("a/prepared.wav", 500, False)),
        ({"original_type": "audio/mpeg"}, True, ("a/prepared.wav", 500, False)),
        ({"original_bytes": 1_001}, True, ("a/prepared.wav", 500, False)),
        ({"path": None}, True, None),
    ],
)
def test_what_a_provider_gets(
    changes: dict[str, Any], removes_noise: bool, expected: tuple[str, int, bool] | None
) -> None:
    limits = structs.replace(LIMITS, removes_noise=removes_noise)
    found = enrolled_sample(NOWHERE, structs.replace(WORK, **changes), limits)
    assert (found and (found[0].path, found[0].size, found[1])) == expected
