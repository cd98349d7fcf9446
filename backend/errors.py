"""Errors, as one tree. A class's docstring is its default message, which any client may read.

`code` is stable and never reused. `internal` is for the log and is never serialised.
"""
# ruff: noqa: N818 (`raise NotFound` says enough)

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import psycopg


class AppError(Exception):
    """Something went wrong on our side."""

    status: int = 500
    code: str = "internal_error"
    help: str | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        field: str | None = None,
        help: str | None = None,  # noqa: A002 - the word of the answer
        extra: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        internal: str | None = None,
    ) -> None:
        self.message = message or " ".join((type(self).__doc__ or "").split())
        super().__init__(self.message)
        self.code = code or self.code
        self.help = help or self.help
        self.field = field
        self.extra = extra or {}
        self.retry_after = retry_after
        self.internal = internal

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))} if self.retry_after else {}


class MalformedBody(AppError):
    """The body could not be read."""

    status = 400
    code = "malformed_body"


class InvalidFormat(AppError):
    """This is not audio that we can read."""

    status = 400
    code = "invalid_format"


class Unauthenticated(AppError):
    """The token was refused."""

    status = 401
    code = "token_invalid"

    @property
    def headers(self) -> dict[str, str]:
        error = "" if self.code == "token_missing" else ', error="invalid_token"'
        return {"WWW-Authenticate": f'Bearer realm="likeness"{error}'}


class NotFound(AppError):
    """This does not exist, or it is not yours."""

    status = 404
    code = "not_found"


class Conflict(AppError):
    """This conflicts with the current state."""

    status = 409
    code = "conflict"


class IllegalTransition(Conflict):
    """The attempt cannot make this transition from its current state."""

    code = "illegal_transition"


class StaleLease(Conflict):
    """Another worker has this attempt now."""

    code = "stale_lease"


class LaunchBlocked(Conflict):
    """The voice cannot be launched yet."""

    code = "launch_blocked"


class TooLarge(AppError):
    """The body is too large."""

    status = 413
    code = "body_too_large"


class SampleTooLarge(TooLarge):
    """The sample is too large."""

    code = "sample_too_large"


class InvalidInput(AppError):
    """The input is not valid."""

    status = 422
    code = "invalid_input"


class SampleRefused(InvalidInput):
    """The sample cannot be used."""

    code = "sample_refused"


class ConsentRequired(InvalidInput):
    """A signed consent for this voice is needed first."""

    code = "consent_required"


class Throttled(AppError):
    """Too much at once; try again a little later."""

    status = 429
    code = "throttled"


class ProviderRejected(AppError):
    """The voice provider refused the request."""

    status = 502
    code = "provider_rejected"


class InferenceFailed(ProviderRejected):
    """The voice provider could not speak the text."""

    code = "inference_failed"


class Unavailable(AppError):
    """The service cannot answer right now; try again a little later."""

    status = 503
    code = "unavailable"

    def __init__(
        self, message: str | None = None, *, retry_after: float | None = None, **details: Any
    ) -> None:
        super().__init__(message, retry_after=retry_after or 2, **details)


class ProviderUnavailable(Unavailable):
    """The voice provider cannot answer right now; try again a little later."""

    code = "provider_unavailable"


class DatabaseUnavailable(Unavailable):
    """The database cannot answer right now; try again a little later."""

    code = "database_unavailable"


class StorageUnavailable(Unavailable):
    """The storage cannot answer right now; try again a little later."""

    code = "storage_unavailable"


class InspectionUnavailable(Unavailable):
    """The sample cannot be inspected right now; try again a little later."""

    code = "inspection_unavailable"


class KeysUnavailable(Unavailable):
    """The keys that tokens are verified with cannot be fetched right now; try again a little later."""

    code = "keys_unavailable"


# What the functions of schema voice_clone raise. Their message is written for the client.
VOICE_CLONE_ERRORS: dict[str, type[AppError]] = {
    "VC001": IllegalTransition,
    "VC002": StaleLease,
    "VC003": ConsentRequired,
    "VC004": NotFound,
    "VC005": LaunchBlocked,
    "VC006": InvalidInput,
    "VC007": Conflict,
    "VC008": Throttled,
}
# After these the same statement may succeed: connection, resources, shutdown, contention, failover.
PASSING = re.compile(r"08...|53...|57P0[1-5]|57014|40001|40P01|55P03|25006")
UNSTORABLE_TEXT = frozenset({"22021", "22P05"})


def from_postgres(error: psycopg.Error) -> Exception:
    """SQLSTATE → domain error. An error that is not mapped is a bug of ours and is returned unchanged."""
    state = error.sqlstate
    if state in VOICE_CLONE_ERRORS:
        return from_voice_clone(VOICE_CLONE_ERRORS[state], error)
    if (state is None and isinstance(error, psycopg.DataError)) or state in UNSTORABLE_TEXT:
        return InvalidInput("The text has a character that cannot be stored.", internal=str(error))
    lost = state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if lost or (state is not None and PASSING.fullmatch(state)):
        return DatabaseUnavailable(internal=f"{state}: {error}")
    return error


def from_voice_clone(kind: type[AppError], error: psycopg.Error) -> AppError:
    """The detail may be a JSON object whose `code`, `field` and `help` override ours; the rest is `extra`."""
    detail: dict[str, Any] = {}
    text = error.diag.message_detail
    if text and text.startswith("{"):
        detail = msgspec.json.decode(text, type=dict[str, Any])
    retry_after = detail.pop("retry_after", 1 if kind is Throttled else None)
    if "status" in detail:  # the attempt's, where the answer's own is the HTTP status
        detail["current_status"] = detail.pop("status")
    return kind(
        error.diag.message_primary,
        code=detail.pop("code", None),
        field=detail.pop("field", None),
        help=detail.pop("help", None) or error.diag.message_hint,
        extra=detail,
        retry_after=retry_after,
    )
