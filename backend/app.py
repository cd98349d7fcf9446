"""The HTTP service, wired here and nowhere else."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

from backend.audio.inspect import AudioInspector
from backend.auth import TokenVerifier, provide_caller
from backend.background import Background
from backend.database import Database
from backend.draining import Drainer
from backend.event_hub import EventHub
from backend.gate import launch_gates
from backend.http_client import HttpClient
from backend.parts import Parts
from backend.problems import answer_problem
from backend.providers.local import LocalProvider
from backend.providers.remote import remote_providers
from backend.routes.clock import ClockController
from backend.routes.clone import CloneController
from backend.routes.consents import ConsentsController
from backend.routes.enrollments import EnrollmentsController
from backend.routes.events import EventsController
from backend.routes.health import HealthController
from backend.routes.internal import InternalController
from backend.routes.legacy import LegacyController
from backend.routes.reflections import ReflectionsController
from backend.routes.speech import SpeechController
from backend.routes.voice_clone import VoiceCloneController
from backend.routes.voice_moves import VoiceMovesController
from backend.routes.voices import VoicesController
from backend.settings import Settings, load_settings
from backend.slots import keep_slots
from backend.storage import Storage, StorageProfiles
from backend.telemetry import RequestLog, configure_logging

ROUTES: list[ControllerRouterHandler] = [
    ClockController,
    CloneController,
    ConsentsController,
    EnrollmentsController,
    EventsController,
    HealthController,
    InternalController,
    LegacyController,
    ReflectionsController,
    SpeechController,
    VoiceCloneController,
    VoiceMovesController,
    VoicesController,
]

BODY_OVERHEAD = 65_536  # bytes of a multipart body beside the sample in it


def create_app(
    settings: Settings | None = None, routes: Sequence[ControllerRouterHandler] = ROUTES
) -> Litestar:
    settings = settings or load_settings()
    configure_logging(settings.server.log_level, settings.server.log_format)

    http = HttpClient()
    database = Database(settings.database)
    storage = Storage(settings.supabase, http)
    verifier = TokenVerifier(settings.supabase, http)
    background = Background()
    hub = EventHub(settings.database, database)
    local = LocalProvider(StorageProfiles(storage))
    parts = Parts(
        settings=settings,
        database=database,
        gates=launch_gates(database),
        storage=storage,
        providers={local.name: local, **remote_providers(settings.providers, http)},
        inspector=AudioInspector(),
    )
    drainer = Drainer(parts, background)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with http, database, hub:
            keeping = background.start(keep_slots(parts))
            yield
            keeping.cancel()
            await background.drain()
            await parts.inspector.aclose()
            await local.aclose()

    app = Litestar(
        routes,
        lifespan=[lifespan],
        state=State(
            {
                "settings": settings,
                "http": http,
                "database": database,
                "storage": storage,
                "verifier": verifier,
                "hub": hub,
            }
        ),
        dependencies={
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "http": Provide(lambda: http, sync_to_thread=False),
            "database": Provide(lambda: database, sync_to_thread=False),
            "storage": Provide(lambda: storage, sync_to_thread=False),
            "parts": Provide(lambda: parts, sync_to_thread=False),
            "hub": Provide(lambda: hub, sync_to_thread=False),
            "background": Provide(lambda: background, sync_to_thread=False),
            "drainer": Provide(lambda: drainer, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers={Exception: answer_problem},
        request_max_body_size=settings.attempts.max_sample_bytes + BODY_OVERHEAD,
        cors_config=cors(settings.server.allowed_origins),
        openapi_config=OPENAPI,
        logging_config=None,
    )
    app.asgi_handler = RequestLog(app.asgi_handler)  # outside of routing, so that a 404 has an id as well
    return app


def cors(origins: list[str]) -> CORSConfig | None:
    """Tokens travel in a header, never in a cookie, so no credentials are allowed."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id"],
        expose_headers=["idempotency-replayed", "retry-after", "x-request-id"],
        max_age=600,
    )


OPENAPI = OpenAPIConfig(
    title="Likeness",
    version="1",
    description="Voice clones for a Supabase project: consent, sample, enrollment, launch gate, speech.",
    render_plugins=[JsonRenderPlugin(path="/"), YamlRenderPlugin()],  # no page that would load from a CDN
    components=Components(
        security_schemes={
            "user": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
            "internal": SecurityScheme(type="http", scheme="bearer"),
        }
    ),
)
