"""Refusals, word for word those of the hosted server: HTTP 400, and the real status in the body."""

import psycopg
from psycopg import errors as pg

# code: real status, `error` (the code itself when empty), message
REFUSALS: dict[str, tuple[int, str, str]] = {
    "AccessDenied": (403, "Unauthorized", "Access denied"),
    "BucketAlreadyExists": (409, "Duplicate", "The resource already exists"),
    "BucketNotEmpty": (409, "InvalidRequest", "The bucket you tried to delete is not empty"),
    "DatabaseError": (500, "", "Internal server error"),
    "DatabaseTimeout": (544, "", "The connection to the database timed out"),
    "EntityTooLarge": (413, "Payload too large", "The object exceeded the maximum allowed size"),
    "InternalError": (500, "", "Internal server error"),
    "InvalidBucketName": (400, "Invalid Input", "Bucket name invalid"),
    "InvalidJWT": (400, "", "Invalid JWT"),
    "InvalidKey": (400, "", "Invalid key: "),
    "InvalidMimeType": (415, "invalid_mime_type", "mime type  is not supported"),
    "InvalidRange": (400, "invalid_range", "invalid range provided"),
    "InvalidRequest": (400, "", "Invalid Request"),
    "InvalidSignature": (400, "", "Invalid signature"),
    "KeyAlreadyExists": (409, "Duplicate", "The resource already exists"),
    "NoSuchBucket": (404, "Bucket not found", "Bucket not found"),
    "NoSuchKey": (404, "not_found", "Object not found"),
}


class LocalStorageError(Exception):
    """A refusal that a client sees."""

    def __init__(self, code: str, message: str | None = None, *, error: str | None = None) -> None:
        status, default_error, default_message = REFUSALS[code]
        self.http_status = status if status >= 500 else 400
        self.body = {
            "statusCode": str(status),
            "error": error or default_error or code,
            "message": message or default_message,
            "code": code,
        }
        super().__init__(self.body["message"])


def missing_header(name: str) -> LocalStorageError:
    """What the hosted server's request validation says."""
    return LocalStorageError("InvalidRequest", f"headers must have required property '{name}'", error="Error")


def from_database(error: psycopg.Error) -> LocalStorageError:
    """SQLSTATE to refusal, in one place."""
    message = error.diag.message_primary or str(error)
    match error:
        case pg.InsufficientPrivilege():
            violated = "new row violates row-level security policy"
            return LocalStorageError("AccessDenied", violated if "row-level security" in message else message)
        case pg.UniqueViolation():
            return LocalStorageError("KeyAlreadyExists")
        case pg.ForeignKeyViolation():
            return LocalStorageError("NoSuchBucket")
        case pg.QueryCanceled():
            return LocalStorageError("DatabaseTimeout")
        case _:
            return LocalStorageError("DatabaseError", message)
