"""Settings of the HTTP service."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from backend.settings.sections import PASSPHRASE_LENGTH, Count, Seconds, Section, derive, url_problems


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


SERVER_PID = "LIKENESS_SERVER_PID"  # a variable that the server process sets for its workers
Port = Annotated[int, Meta(ge=0, le=65535)]


def own_url(host: str, port: int) -> str:
    """At which a service that listens there answers on its own machine."""
    return f"http://{bracketed('127.0.0.1' if host in {'0.0.0.0', '::'} else host)}:{port}"  # noqa: S104


class ServerSettings(Section, frozen=True, kw_only=True):
    host: str = field(name="HOST", default="127.0.0.1")
    port: Port = field(name="PORT", default=8000)
    workers: Count = field(name="WORKERS", default=1)
    http2: bool = field(name="HTTP2", default=False)  # without TLS (h2c), for a proxy that speaks it
    # how long a client may send nothing in the head or the body of a request, or between two requests
    request_timeout: Seconds = field(name="REQUEST_TIMEOUT_SECONDS", default=10.0)
    service_url: str = field(name="SERVICE_URL", default="")  # at which consumers reach the service
    cors_origins: str = field(name="CORS_ORIGINS", default="")  # comma-separated
    page: bool = field(name="PAGE", default=True)  # the web page at /, where a publishable key is set
    operations_page: bool = field(name="OPERATIONS_PAGE", default=False)  # the page at /operations
    consent_page_url: str = field(name="CONSENT_PAGE_URL", default="")  # of the application, for employees
    stream_heartbeat: Seconds = field(name="STREAM_HEARTBEAT_SECONDS", default=15.0)
    internal_token: str = field(name="INTERNAL_TOKEN")
    metrics_token: str = field(name="METRICS_TOKEN", default="")  # without it there is no /metrics
    log_level: Literal["debug", "info", "warning", "error"] = field(name="LOG_LEVEL", default="info")
    log_format: Literal["json", "console"] = field(name="LOG_FORMAT", default="json")

    def __post_init__(self) -> None:
        derive(self, service_url=self.service_url.rstrip("/") or own_url(self.host, self.port))

    @property
    def address(self) -> str:
        """As in a URL."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def allowed_origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    def problems(self) -> Iterator[str]:
        if len(self.internal_token) < PASSPHRASE_LENGTH:
            yield f"INTERNAL_TOKEN is weak: at least {PASSPHRASE_LENGTH} characters (openssl rand -hex 32)"
        if self.metrics_token and len(self.metrics_token) < PASSPHRASE_LENGTH:
            yield f"METRICS_TOKEN is weak: at least {PASSPHRASE_LENGTH} characters (openssl rand -hex 32)"
        yield from url_problems("SERVICE_URL", self.service_url)
        if self.consent_page_url:
            yield from url_problems("CONSENT_PAGE_URL", self.consent_page_url)
        for origin in self.allowed_origins:
            if origin != "*":
                yield from url_problems("CORS_ORIGINS", origin)
