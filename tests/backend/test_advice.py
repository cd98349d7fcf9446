"""Each failure of a sample or a speech job says what to do, whichever code it has."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from msgspec import structs

from backend.domains.samples.advice import AGAIN, WAITS, WITHOUT_MEASURES, sample_advice
from backend.domains.samples.stored import SampleStatus, StoredSample
from backend.domains.speech import advice as speech
from backend.web.error_codes import SPEECH_TEXT, ErrorCode
from tests.backend.test_preflight import GOOD

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FAILED = StoredSample(
    id=uuid4(), name=None, language="en", status="failed", file_url="/f", content_type="audio/wav", bytes=1,
    measures=None, error_code="sample_too_long", error_message="sample too long: 600.0 s, at most 180 s",
    created_at=NOW, ready_at=None,
)  # fmt: skip
NOT_MEASURED = [  # before anything is measured, or on our side
    ErrorCode.INVALID_FORMAT,
    ErrorCode.SAMPLE_TOO_LONG,
    ErrorCode.TOO_MANY_SAMPLES,
    ErrorCode.SPOKEN_SAMPLE_DIFFERS,
    ErrorCode.FILE_MISSING,
    ErrorCode.INSPECTION_TIMED_OUT,
    ErrorCode.INSPECTION_FAILED,
    ErrorCode.WORKER_LOST,
    ErrorCode.DEADLINE_EXCEEDED,
]


def test_a_sample_that_was_not_measured_is_told_what_to_do() -> None:
    reason = SampleStatus.of(FAILED).reason
    assert reason is not None
    assert (reason.code, reason.help) == ("sample_too_long", "Cut the sample.")
    waits = SampleStatus.of(
        structs.replace(FAILED, status="pending", error_code="storage_unavailable")
    ).reason
    assert waits is not None
    assert waits.help == WAITS


def test_a_sample_that_was_measured_has_the_advice_of_its_finding() -> None:
    short = structs.replace(GOOD, seconds=1.8)
    shown = SampleStatus.of(structs.replace(FAILED, measures=short, error_code="sample_too_short"))
    assert shown.reason is not None
    assert shown.reason.help == "Speak for 3 seconds or more."
    assert shown.findings[0].help == shown.reason.help


@pytest.mark.parametrize("code", NOT_MEASURED)
def test_each_code_of_a_sample_has_an_advice(code: ErrorCode) -> None:
    told = sample_advice(code, [], has_failed=True)
    assert told.endswith(".")
    assert (told == AGAIN) == (code not in WITHOUT_MEASURES)


def test_each_failure_of_a_speech_says_what_to_do() -> None:
    for code, told in [
        ("inference_failed", speech.AGAIN),
        ("worker_lost", speech.AGAIN),
        ("sample_rejected", speech.OTHER_SAMPLE),
        ("provider_misconfigured", speech.OPERATOR),
        *((code, speech.BY_CODE[code]) for code in SPEECH_TEXT if code != ErrorCode.INVALID_TEXT),
    ]:
        assert speech.speech_advice(code, has_failed=True, is_removed=False) == told
    assert speech.speech_advice("inference_failed", has_failed=True, is_removed=True) == speech.TEXT_AGAIN
    assert speech.speech_advice("provider_throttled", has_failed=False, is_removed=False) == speech.WAITS
    assert set(speech.BY_CODE) <= set(ErrorCode)
