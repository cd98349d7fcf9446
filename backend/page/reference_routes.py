"""The OpenAPI document at /schema/openapi.json, and a page of it at /schema; PAGE=false removes the page.

The page is Redoc, served from here: docs/decisions/0061-the-reference-page.md
"""

from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from backend.page.files import make_file
from backend.page.routes import answer_file
from backend.settings import Settings
from backend.web.contract import ANSWERED

FOLDER = Path(__file__).parent / "reference"
DESCRIPTION = """Voice clones for a Supabase project: consent, sample, enrollment, launch gate, speech.

A problem is `application/problem+json` with a stable `code`; each route lists its codes by status. Times are
RFC 3339 in UTC. A new code, state or provider may be added: treat one that you do not know as unknown.
"""
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'unsafe-inline'",  # the library makes its styles while it runs
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
HEADERS = {
    "content-security-policy": "; ".join(POLICY),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}


class ReferencePage(OpenAPIRenderPlugin):
    """At the root of the router, with the headers of the router."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._page = (FOLDER / "index.html").read_bytes()

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self._page


def openapi_config(settings: Settings) -> OpenAPIConfig:
    has_page = settings.server.page
    document = JsonRenderPlugin(path="/openapi.json" if has_page else ["/openapi.json", "/"])
    return OpenAPIConfig(
        title="Likeness",
        version="1",
        description=DESCRIPTION,
        use_handler_docstrings=True,
        openapi_router=reference_router() if has_page else None,
        render_plugins=[ReferencePage(), document] if has_page else [document],
        components=Components(
            headers=ANSWERED,
            security_schemes={
                "user": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "invitation": SecurityScheme(
                    type="apiKey", name="Invitation-Token", security_scheme_in="header"
                ),
                "elevenlabs": SecurityScheme(
                    type="apiKey", name="ElevenLabs-Signature", security_scheme_in="header"
                ),
                "twilio": SecurityScheme(
                    type="apiKey", name="X-Twilio-Signature", security_scheme_in="header"
                ),
            },
        ),
    )


def reference_router() -> Router:
    files = {
        name: make_file(".js", (FOLDER / name).read_bytes())
        for name in ("redoc.standalone.js", "reference.js")
    }

    @get([f"/{name}" for name in files], sync_to_thread=False)
    def read_script(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer_file(files[request.url.path.rpartition("/")[2]], request, HEADERS)

    return Router("/schema", route_handlers=[read_script], response_headers=HEADERS, include_in_schema=False)
