"""Settings come from environment variables; every fault is named at once, before anything starts.

`.env.example` documents each of them (a test compares the two).
"""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from backend.providers.elevenlabs_config import ElevenLabsConfig
from backend.providers.qwen_config import TARGET_MODEL, QwenConfig

OWNERS = frozenset({"postgres", "supabase_admin"})
PASSPHRASE_LENGTH = 32  # characters; HS256 secrets and the internal token

ProviderName = Literal["local", "qwen", "elevenlabs"]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Slots = Annotated[int, Meta(ge=0)]

SectionT = TypeVar("SectionT", bound="Section")


class SettingsError(Exception):
    """The settings cannot work; `problems` lists every fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            "\n".join(["The settings cannot work:", *(f"  - {problem}" for problem in problems)])
        )
        self.problems = problems


class Section(Struct, frozen=True, kw_only=True):
    """Settings that belong together. Their representation shows no value: some are secrets."""

    def problems(self) -> Iterator[str]:
        yield from ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class ServerSettings(Section, frozen=True, kw_only=True):
    host: str = field(name="HOST", default="127.0.0.1")
    port: Annotated[int, Meta(ge=0, le=65535)] = field(name="PORT", default=8000)
    workers: Count = field(name="WORKERS", default=1)
    service_url: str = field(name="SERVICE_URL", default="")  # where consumers reach the service
    cors_origins: str = field(name="CORS_ORIGINS", default="")  # comma-separated
    stream_heartbeat: Seconds = field(name="STREAM_HEARTBEAT_SECONDS", default=15.0)
    internal_token: str = field(name="INTERNAL_TOKEN")
    log_level: Literal["debug", "info", "warning", "error"] = field(name="LOG_LEVEL", default="info")
    log_format: Literal["json", "console"] = field(name="LOG_FORMAT", default="json")

    def __post_init__(self) -> None:
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        derive(self, service_url=self.service_url.rstrip("/") or f"http://{host}:{self.port}")

    @property
    def allowed_origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    def problems(self) -> Iterator[str]:
        if len(self.internal_token) < PASSPHRASE_LENGTH:
            yield f"INTERNAL_TOKEN is weak: at least {PASSPHRASE_LENGTH} characters (openssl rand -hex 32)"
        yield from url_problems("SERVICE_URL", self.service_url)
        for origin in self.allowed_origins:
            if origin != "*":
                yield from url_problems("CORS_ORIGINS", origin)


class DatabaseSettings(Section, frozen=True, kw_only=True):
    url: str = field(name="DATABASE_URL")
    # LISTEN needs a session: a direct address, where DATABASE_URL leads to a transaction pooler
    listen_url: str = field(name="LISTEN_DATABASE_URL", default="")
    pool_size: Count = field(name="DATABASE_POOL_SIZE", default=16)
    timeout: Seconds = field(name="DATABASE_TIMEOUT_SECONDS", default=2.0)  # to get a connection
    # None suits a transaction pooler; a number prepares a statement after that many uses
    prepare_threshold: Annotated[int, Meta(ge=0)] | None = field(
        name="DATABASE_PREPARE_THRESHOLD", default=None
    )

    def problems(self) -> Iterator[str]:
        try:
            user = conninfo_to_dict(self.url).get("user")
        except ProgrammingError:
            yield "DATABASE_URL is not a Postgres connection string"
            return
        if str(user).split(".")[0] in OWNERS:
            yield f"DATABASE_URL logs in as {user}, an owner; use voice_clone_service, which owns nothing"


class SupabaseSettings(Section, frozen=True, kw_only=True):
    url: str = field(name="SUPABASE_URL")
    secret_key: str = field(name="SUPABASE_SECRET_KEY")
    jwt_secret: str = field(name="SUPABASE_JWT_SECRET", default="")
    jwks_url: str = field(name="SUPABASE_JWKS_URL", default="")  # "off" trusts the secret alone
    jwt_issuer: str = field(name="JWT_ISSUER", default="")
    jwt_audience: str = field(name="JWT_AUDIENCE", default="authenticated")

    def __post_init__(self) -> None:
        url = self.url.rstrip("/")
        jwks_url = self.jwks_url or (url and f"{url}/auth/v1/.well-known/jwks.json")
        derive(
            self,
            url=url,
            jwks_url="" if jwks_url == "off" else jwks_url,
            jwt_issuer=self.jwt_issuer or f"{url}/auth/v1",
        )

    def problems(self) -> Iterator[str]:
        yield from url_problems("SUPABASE_URL", self.url)
        if self.jwks_url and not self.jwks_url.startswith(self.url):
            yield from url_problems("SUPABASE_JWKS_URL", self.jwks_url)
        if not self.jwks_url and not self.jwt_secret:
            yield "SUPABASE_JWT_SECRET or SUPABASE_JWKS_URL is needed, or no token can be verified"
        if 0 < len(self.jwt_secret) < PASSPHRASE_LENGTH:
            yield f"SUPABASE_JWT_SECRET is weak: at least {PASSPHRASE_LENGTH} characters"


class ProviderSettings(Section, frozen=True, kw_only=True):
    voice_provider: ProviderName = field(name="VOICE_PROVIDER", default="local")
    qwen_api_key: str = field(name="QWEN_API_KEY", default="")
    qwen_region: str = field(name="QWEN_REGION", default="")
    qwen_base_url: str = field(name="QWEN_BASE_URL", default="")
    qwen_workspace_id: str = field(name="QWEN_WORKSPACE_ID", default="")
    qwen_target_model: str = field(name="QWEN_TARGET_MODEL", default=TARGET_MODEL)
    qwen_voice_slots: Slots | None = field(name="QWEN_VOICE_SLOTS", default=None)
    elevenlabs_api_key: str = field(name="ELEVENLABS_API_KEY", default="")
    elevenlabs_base_url: str = field(name="ELEVENLABS_BASE_URL", default="https://api.elevenlabs.io")
    elevenlabs_model_id: str = field(name="ELEVENLABS_MODEL_ID", default="eleven_multilingual_v2")
    elevenlabs_voice_slots: Slots | None = field(name="ELEVENLABS_VOICE_SLOTS", default=None)

    @property
    def voice_slots(self) -> dict[str, int | None]:
        """By provider: None where the provider is to be asked, 0 where no limit is kept."""
        return {"qwen": self.qwen_voice_slots, "elevenlabs": self.elevenlabs_voice_slots}

    @property
    def qwen(self) -> QwenConfig | None:
        """None when this deployment has nothing of Qwen's."""
        given = self.qwen_api_key, self.qwen_region, self.qwen_base_url, self.qwen_workspace_id
        if self.voice_provider != "qwen" and not any(given):
            return None
        return QwenConfig(
            api_key=self.qwen_api_key,
            region=self.qwen_region,
            base_url=self.qwen_base_url or None,
            workspace_id=self.qwen_workspace_id or None,
            target_model=self.qwen_target_model,
        )

    @property
    def elevenlabs(self) -> ElevenLabsConfig | None:
        """None when this deployment has nothing of ElevenLabs'."""
        if self.voice_provider != "elevenlabs" and not self.elevenlabs_api_key:
            return None
        return ElevenLabsConfig(
            api_key=self.elevenlabs_api_key,
            base_url=self.elevenlabs_base_url,
            model_id=self.elevenlabs_model_id,
        )

    def problems(self) -> Iterator[str]:
        for config in (self.qwen, self.elevenlabs):
            yield from config.problems() if config else ()


class AttemptSettings(Section, frozen=True, kw_only=True):
    preview_required: bool = field(name="PREVIEW_REQUIRED", default=True)
    finalize_wait: Annotated[float, Meta(ge=0)] = field(name="FINALIZE_WAIT_SECONDS", default=10.0)
    max_sample_bytes: Count = field(name="MAX_SAMPLE_BYTES", default=10_485_760)
    lease_seconds: Count = field(name="LEASE_SECONDS", default=60)
    # after a create its voice may appear so much later: the call's timeout and the provider's listing lag
    enrollment_settle_seconds: Seconds = field(name="ENROLLMENT_SETTLE_SECONDS", default=150.0)
    max_jobs: Count = field(name="MAX_JOBS", default=50)
    max_jobs_per_owner: Count = field(name="MAX_JOBS_PER_OWNER", default=4)
    message_budget: Count = field(
        name="MESSAGE_BUDGET", default=16
    )  # tries before a message is a dead letter

    def problems(self) -> Iterator[str]:
        if self.max_jobs_per_owner > self.max_jobs:
            yield "MAX_JOBS_PER_OWNER is more than MAX_JOBS"


class Settings(Struct, frozen=True, kw_only=True):
    server: ServerSettings
    database: DatabaseSettings
    supabase: SupabaseSettings
    providers: ProviderSettings
    attempts: AttemptSettings


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError. A variable that is empty counts as absent."""
    problems: list[str] = []
    sections: dict[str, Any] = {
        each.name: read_section(each.type, environ, problems) for each in msgspec.structs.fields(Settings)
    }
    if problems:
        raise SettingsError(problems)
    return Settings(**sections)


def read_section(section: type[SectionT], environ: Mapping[str, str], problems: list[str]) -> SectionT | None:
    """One section, or None and its faults added to `problems`. Field by field: msgspec stops at the first."""
    values: dict[str, object] = {}
    faults: dict[str, str] = {}
    for setting in msgspec.structs.fields(section):
        name = setting.encode_name
        text = environ.get(name, "").strip()
        try:
            if text:
                values[setting.name] = msgspec.convert(text, setting.type, strict=False)
            elif setting.required:
                values[setting.name] = ""  # so that the others can still be checked against each other
                faults[name] = f"{name} is missing"
        except msgspec.ValidationError as error:
            choices = (
                f"; one of {', '.join(map(str, get_args(setting.type)))}" if is_choice(setting.type) else ""
            )
            faults[name] = f"{name}: {error}{choices}"
    complete = section(**values)
    found = [problem for problem in complete.problems() if problem.split(" ", 1)[0] not in faults]
    problems += [*faults.values(), *found]
    return None if faults else complete


def is_choice(kind: object) -> bool:
    return getattr(kind, "__origin__", None) is Literal


def derive(section: Section, **values: object) -> None:
    """Fill in what follows from other settings; only while a section is being made."""
    for name, value in values.items():
        msgspec.structs.force_setattr(section, name, value)


def url_problems(name: str, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield f"{name} is not an http(s) URL"
