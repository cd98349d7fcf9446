"""A self-hosted model's problems as our kinds: by a `code` of docs/self-hosted-model.md, else by status."""

from backend.providers.base import ErrorKind
from backend.providers.http import INFERENCE_FAILED, TEXT_EMPTY, TEXT_TOO_LONG, Failure

NOT_A_MODEL = Failure(
    ErrorKind.MISCONFIGURED,
    "provider_misconfigured",
    "The voice provider's address does not answer as a model.",
)
SAMPLE_GONE = Failure(
    ErrorKind.REJECTED,
    "sample_gone",
    "The sample of this voice is not stored any more, so the voice cannot speak. Record a new sample.",
)

ERRORS: dict[str, Failure] = {
    "text_empty": TEXT_EMPTY,
    "text_too_long": TEXT_TOO_LONG,
    "text_rejected": Failure(ErrorKind.REJECTED, "text_rejected", "The voice provider refuses this content."),
    "language_unsupported": Failure(
        ErrorKind.REJECTED, "language_unsupported", "The voice provider does not speak this language."
    ),
    "sample_rejected": Failure(
        ErrorKind.REJECTED, "sample_rejected", "The voice provider cannot speak with this sample."
    ),
    "inference_failed": INFERENCE_FAILED,
}


def known(code: str | None) -> Failure | None:
    return ERRORS.get(code or "")
