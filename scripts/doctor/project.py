"""The project as an application sees it: Auth's keys, the Data API, Storage and its buckets."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import jwt
import msgspec

from backend.app.queues import QUEUES
from backend.checks.database import PUSH, check_version
from backend.checks.findings import Finding, good
from backend.checks.requests import Answer, Unreachable, send
from backend.checks.storage import KEY_REMEDY, check_buckets, read_buckets
from backend.database.probes import ConsumersState, Installation
from backend.settings.supabase import SupabaseSettings
from backend.storage.buckets import BUCKETS
from backend.web.jwks import read_keys
from scripts.doctor.anchors import AnchorsState, judge_anchors
from scripts.doctor.database import check_clock, judge_consumers
from scripts.doctor.voice_checks import VoiceChecksState, judge_voice_checks

URL_REMEDY = "Compare SUPABASE_URL with the project's URL, and look if the project is paused"
PERMISSION_DENIED = "42501"  # of Postgres: the key was accepted, and has no right
EXPOSE = "Expose it: Settings → API → Exposed schemas, or `supabase config push`"


class Consumer(msgspec.Struct):
    queues: list[str]
    seen_at: datetime
    is_alive: bool


def check_keys(settings: SupabaseSettings) -> Iterator[Finding]:
    """What a user's token is verified with."""
    ways = []
    if settings.jwt_secret:
        ways.append("HS256 by SUPABASE_JWT_SECRET")
        yield from check_secret(settings)
    if settings.jwks_url:
        try:
            answer = send("GET", settings.jwks_url)
        except Unreachable as error:
            yield Finding(
                part="tokens", found=f"{settings.jwks_url} cannot be reached: {error}", remedy=URL_REMEDY
            )
            return
        keys = keys_of(answer)
        if keys is None:
            yield Finding(
                part="tokens",
                found=f"{settings.jwks_url} has no list of keys (HTTP {answer.status})",
                remedy="Correct SUPABASE_JWKS_URL; `off` uses SUPABASE_JWT_SECRET alone",
            )
            return
        ways += sorted({f"{key.algorithm_name} by the project's keys" for key in keys.values()})
    if ways:
        yield good("tokens", ", ".join(ways))
    else:
        yield Finding(
            part="tokens",
            found=f"no token can be verified: {settings.jwks_url} has no key",
            remedy="Create a signing key (Settings → JWT Keys), or set SUPABASE_JWT_SECRET",
        )


def keys_of(answer: Answer) -> dict[str, jwt.PyJWK] | None:
    """None where it is no list of keys."""
    try:
        return read_keys(msgspec.json.decode(answer.body)) if answer.status == 200 else None
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def check_secret(settings: SupabaseSettings) -> Iterator[Finding]:
    """An older secret key is a token that the shared secret signed."""
    if settings.secret_key.count(".") != 2:
        return
    try:
        jwt.decode(
            settings.secret_key,
            settings.jwt_secret,
            algorithms=["HS256"],
            options={"verify_aud": False, "verify_exp": False},
        )
    except jwt.InvalidTokenError:
        yield Finding(
            part="tokens",
            found="SUPABASE_JWT_SECRET has not signed SUPABASE_SECRET_KEY",
            remedy="Copy both from one project: Settings → JWT Keys, and API keys",
        )


def check_data_api(settings: SupabaseSettings) -> Iterator[Finding]:
    """As the service's key reads, and whether operators reach schema `operations`."""
    try:
        answer = get(settings, "/rest/v1/voice_clone_attempts?select=id&limit=1")
    except Unreachable as error:
        yield Finding(part="data api", found=f"{settings.url} cannot be reached: {error}", remedy=URL_REMEDY)
        return
    if date := date_of(answer):
        yield check_clock("project", date, datetime.now(UTC))
    if answer.status == 200:
        yield good("data api", f"{settings.url}/rest/v1")
    elif answer.status in (401, 403):
        yield Finding(
            part="data api",
            found=f"SUPABASE_SECRET_KEY is refused (HTTP {answer.status})",
            remedy=KEY_REMEDY,
        )
    elif answer.status == 404 and problem_code(answer).startswith("PGRST"):
        yield Finding(
            part="data api",
            found="it does not know the table voice_clone_attempts",
            remedy=f"{PUSH}. Where they were pushed: `notify pgrst, 'reload schema'` as postgres",
        )
    else:
        yield Finding(
            part="data api",
            found=f"{settings.url}/rest/v1 answers with HTTP {answer.status}",
            remedy=URL_REMEDY,
        )


def date_of(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None


def check_operations(settings: SupabaseSettings, *, with_consumers: bool) -> Iterator[Finding]:
    """Version, missing parts and consumers by the Data API, where there is no DATABASE_URL."""
    try:
        version = call(settings, "schema_version")
        if problem_code(version) == "PGRST106":
            yield Finding(
                part="operations",
                state="warning",
                found="the Data API does not expose the schema operations",
                remedy=EXPOSE,
            )
            return
        if version.status != 200:
            return  # check_data_api says it
        missing = decoded(call(settings, "missing_parts"), list[str])
        found = decoded(version, list[dict[str, int]])[0]
        yield from check_version(Installation(**found, missing=missing))
        if with_consumers:
            yield judge_consumers(state_of(decoded(call(settings, "consumers"), list[Consumer])))
        yield from judge_anchors(decoded(call(settings, "consent_anchors_state"), list[AnchorsState])[0])
        checks = decoded(call(settings, "voice_checks_state"), list[VoiceChecksState])
        yield from judge_voice_checks(checks)
    except (Unreachable, msgspec.DecodeError, TypeError, IndexError) as error:
        yield Finding(
            part="operations",
            found=f"the Data API does not answer: {error}",
            remedy=URL_REMEDY,
        )


def state_of(consumers: list[Consumer]) -> ConsumersState:
    alive = [each for each in consumers if each.is_alive]
    read = {queue for each in alive for queue in each.queues}
    last = max((each.seen_at for each in consumers), default=None)
    return ConsumersState(len(alive), last, sorted(set(QUEUES) - read))


def check_visitors(settings: SupabaseSettings) -> Iterator[Finding]:
    """With the key that everyone can read in the page: it is accepted, and reads no row of a user."""
    readable = []
    for table in ("voice_clone_attempts", "voices", "voice_consents", "voice_samples", "reflections"):
        url = f"{settings.url}/rest/v1/{table}?select=id&limit=1"
        try:
            answer = send("GET", url, {"apikey": settings.publishable_key})
        except Unreachable:
            return  # check_data_api says it
        if answer.status == 401 and problem_code(answer) != PERMISSION_DENIED:
            yield Finding(
                part="visitors",
                found=f"SUPABASE_PUBLISHABLE_KEY is refused (HTTP {answer.status})",
                remedy="Copy a publishable key (or anon) of this project from Settings → API keys",
            )
            return
        if answer.status == 200 and answer.json():
            readable.append(table)
    if readable:
        yield Finding(
            part="visitors",
            found=f"everyone reads rows of {', '.join(readable)}",
            remedy="Look at the policies and the grants to anon of these tables",
        )
    else:
        yield good("visitors", "read no row of a user")


def check_limits(
    settings: SupabaseSettings, max_sample_bytes: int | None, max_recording_bytes: int | None
) -> Iterator[Finding]:
    """The buckets, and what they accept against what the service stores."""
    buckets = read_buckets(settings)
    if isinstance(buckets, Finding):
        yield buckets
        return
    yield from check_buckets(buckets)
    wanted = {"voice-samples": max_sample_bytes, "recordings": max_recording_bytes}
    for name, needs in BUCKETS.items():
        bucket = buckets.get(name)
        if bucket is None:
            continue
        least = wanted.get(name) or needs.megabytes * 1024 * 1024
        if bucket.file_size_limit is not None and bucket.file_size_limit < least:
            yield Finding(
                part="buckets",
                found=f"{name} accepts {bucket.file_size_limit} bytes, and the service stores {least}",
                remedy=f"Raise the limit of the bucket {name}, or lower the setting of the service",
            )
        types = bucket.allowed_mime_types
        if types is not None and needs.content_type not in types and "*/*" not in types:
            yield Finding(
                part="buckets",
                found=f"{name} does not accept {needs.content_type}",
                remedy=f"Add {needs.content_type} to the types of the bucket {name}",
            )


def get(settings: SupabaseSettings, path: str) -> Answer:
    return send("GET", f"{settings.url}{path}", as_service(settings))


def call(settings: SupabaseSettings, function: str) -> Answer:
    """A function of the schema operations."""
    headers = {**as_service(settings), "content-profile": "operations", "accept": "application/json"}
    return send("POST", f"{settings.url}/rest/v1/rpc/{function}", headers, {})


def as_service(settings: SupabaseSettings) -> dict[str, str]:
    return {"apikey": settings.secret_key, "authorization": f"Bearer {settings.secret_key}"}


def decoded(answer: Answer, kind: Any) -> Any:
    return msgspec.json.decode(answer.body, type=kind)


def problem_code(answer: Answer) -> str:
    body = answer.json()
    return str(body.get("code", "")) if isinstance(body, dict) else ""
