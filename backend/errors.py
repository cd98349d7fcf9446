"""Errors, as one tree. A class's docstring is its default message, which any client may read.

`code` is stable and never reused. `internal` is for the log and is never serialised.
"""
# ruff: noqa: N818 (`raise NotFound` says enough)

import math
import re
from collections.abc import Callable, Mapping
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


class InvalidCursor(AppError):
    """This is not a cursor of a page."""

    status = 400
    code = "invalid_cursor"
    help = "Send the Next-Cursor of the page before, or leave it out for the first page."


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


class UserGone(Unauthenticated):
    """The user of this token does not exist any more."""

    code = "user_gone"


class Forbidden(AppError):
    """Only an admin of the organization may do this."""

    status = 403
    code = "admin_required"


class SignatureRefused(AppError):
    """The signature is not of this account and for this address."""

    status = 403
    code = "signature_refused"


class NotFound(AppError):
    """This does not exist, or it is not yours."""

    status = 404
    code = "not_found"


class RouteNotFound(AppError):
    """There is no such route."""

    status = 404
    code = "route_not_found"


class RequestTimeout(AppError):
    """The body came too slowly."""

    status = 408
    code = "request_timeout"


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


class AddressTooLong(AppError):
    """The address is too long."""

    status = 414
    code = "address_too_long"


class UnsupportedMediaType(AppError):
    """The header Content-Type is too long."""

    status = 415
    code = "unsupported_media_type"


class MethodNotAllowed(AppError):
    """No route has this method."""

    status = 405
    code = "method_not_allowed"


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


class DatabaseFailed(Unavailable):
    """The database could not do this; try again a little later."""

    code = "database_failed"


class StorageUnavailable(Unavailable):
    """The storage cannot answer right now; try again a little later."""

    code = "storage_unavailable"


class InspectionUnavailable(Unavailable):
    """The sample cannot be inspected right now; try again a little later."""

    code = "inspection_unavailable"

    def __init__(self, message: str | None = None, *, failure: str = "outage", **details: Any) -> None:
        """`failure`: `timeout` and `crash` may be the sample's fault; an `outage` is not."""
        super().__init__(message, **details)
        self.failure = failure


class MarkingUnavailable(Unavailable):
    """The speech cannot be marked as synthetic right now, so it is not sent; try again a little later."""

    code = "marking_unavailable"


class VerificationUnavailable(Unavailable):
    """The file cannot be verified right now; try again a little later."""

    code = "verification_unavailable"


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
    "VC009": Forbidden,
}
# A row that was there when the request began. By the column that refers to it.
MISSING_ROWS: dict[str, Callable[[psycopg.Error], AppError]] = {
    "user_id": lambda error: UserGone(internal=str(error)),
    "reflection_id": lambda error: NotFound(
        "There is no such reflection.", field="reflection_id", internal=str(error)
    ),
    "consent_id": lambda error: ConsentRequired(field="consent_id", internal=str(error)),
    "sample_id": lambda error: NotFound("There is no such sample.", field="sample_id", internal=str(error)),
    "voice_id": lambda error: NotFound("There is no such voice.", field="voice_id", internal=str(error)),
}
# After these the same statement may succeed: connection, resources, shutdown, contention, failover.
PASSING = re.compile(r"08...|53...|57P0[1-5]|57014|40001|40P01|55P03|25006|25P0[34]")
FOREIGN_KEY = "23503"
UNSTORABLE_TEXT = frozenset({"22021", "22P05"})


def from_postgres(error: psycopg.Error) -> Exception:
    """SQLSTATE → domain error. An error that is not mapped is returned unchanged: see `from_unexpected`."""
    state = error.sqlstate
    if state in VOICE_CLONE_ERRORS:
        return from_voice_clone(VOICE_CLONE_ERRORS[state], error)
    if (state is None and isinstance(error, psycopg.DataError)) or state in UNSTORABLE_TEXT:
        return InvalidInput("The text has a character that cannot be stored.", internal=str(error))
    lost = state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if lost or (state is not None and PASSING.fullmatch(state)):
        return DatabaseUnavailable(internal=f"{state}: {error}")
    if state == FOREIGN_KEY:
        columns = referring_columns(error)
        gone = (make for column, make in MISSING_ROWS.items() if columns.startswith(column))
        return next(gone, lambda error: error)(error)
    return error


def referring_columns(error: psycopg.Error) -> str:
    """Of a constraint with the name that Postgres gives it: `<table>_<columns>_fkey`."""
    name = (error.diag.constraint_name or "").removesuffix("_fkey")
    return name.removeprefix(f"{error.diag.table_name}_")


def from_unexpected(error: psycopg.Error) -> AppError:
    """The answer to an error that no one expected, by its class. The caller logs the error itself."""
    state = error.sqlstate or ""
    if state.startswith("23"):
        return Conflict("This conflicts with what is stored.")
    if state.startswith("22"):
        return InvalidInput("A value cannot be stored.")
    return DatabaseFailed()


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
