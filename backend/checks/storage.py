"""Storage: is it reached, is the secret key accepted, and are the buckets there and private?"""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from backend.checks.findings import Finding, good
from backend.checks.requests import Answer, Unreachable, send
from backend.settings.supabase import SupabaseSettings
from backend.storage.buckets import BUCKETS

KEY_REMEDY = "Copy a secret key (sb_secret_… or service_role) of this project from Settings → API keys"


class Bucket(Struct, frozen=True):
    id: str
    public: bool = False
    file_size_limit: int | None = None  # None: no limit but the project's
    allowed_mime_types: list[str] | None = None  # None: any


class Problem(Struct):
    """Storage sends errors with HTTP 400, and the real status in the body."""

    status: str | int = msgspec.field(name="statusCode", default=0)


def check_storage(settings: SupabaseSettings) -> Iterator[Finding]:
    buckets = read_buckets(settings)
    if isinstance(buckets, Finding):
        yield buckets
    else:
        yield from check_buckets(buckets)


def check_buckets(buckets: Mapping[str, Bucket]) -> Iterator[Finding]:
    if missing := [name for name in BUCKETS if name not in buckets]:
        yield Finding(
            part="buckets",
            found=f"missing: {', '.join(missing)}",
            remedy="Create them as postgres, in the SQL editor: `select operations.create_missing_buckets()`",
            prevents_start=True,
        )
    if public := [name for name in BUCKETS if name in buckets and buckets[name].public]:
        yield Finding(
            part="buckets",
            found=f"open to everyone: {', '.join(public)}",
            remedy="Make them private: Storage → the bucket → Edit bucket → Public bucket off",
            prevents_start=True,
        )
    if not missing and not public:
        yield good("buckets", ", ".join(BUCKETS))


def read_buckets(settings: SupabaseSettings) -> dict[str, Bucket] | Finding:
    """The project's buckets by name, or why they cannot be read."""
    key = settings.secret_key
    try:
        answer = send(
            "GET",
            f"{settings.url}/storage/v1/bucket",
            {"apikey": key, "authorization": f"Bearer {key}"},
        )
    except Unreachable as error:
        return unreachable(settings, str(error))
    if answer.status == 200:
        try:
            listed = msgspec.json.decode(answer.body, type=list[Bucket])
        except msgspec.DecodeError:
            return unreachable(settings, "the answer is not of Storage")
        return {bucket.id: bucket for bucket in listed}
    if refuses_key(answer):
        return Finding(
            part="storage",
            found=f"SUPABASE_SECRET_KEY is refused by {settings.url} (HTTP {answer.status})",
            remedy=KEY_REMEDY,
            prevents_start=True,
        )
    return unreachable(settings, f"HTTP {answer.status}")


def refuses_key(answer: Answer) -> bool:
    """A gateway says it by the HTTP status, Storage in its body."""
    try:
        own = int(msgspec.json.decode(answer.body, type=Problem).status)
    except (msgspec.DecodeError, ValueError):
        own = 0
    return answer.status in (401, 403) or (answer.status == 400 and own in (400, 401, 403))


def unreachable(settings: SupabaseSettings, why: str) -> Finding:
    return Finding(
        part="storage",
        found=f"{settings.url} does not serve Storage: {why}",
        remedy="Compare SUPABASE_URL with the project's URL, and look if the project is paused",
    )
