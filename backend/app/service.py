"""The HTTP service, wired here and nowhere else."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from backend.app.internal_routes import STEP_ROUTES, InternalController
from backend.app.local_steps import local_queues
from backend.app.sandbox_report import report_sandbox
from backend.audio.inspect import AudioInspector
from backend.audio.spoken import SpokenExaminer
from backend.context import AppContext
from backend.database.pool import Database
from backend.database.probes import probe_consumers, probe_database
from backend.domains.consents.routes import ConsentsController
from backend.domains.employees.consent_routes import EmployeeConsentsController, InvitationsController
from backend.domains.employees.recovery_routes import EmployeeRecoveryController
from backend.domains.employees.voice_routes import EmployeeCloneController, EmployeeVoiceController
from backend.domains.erasures.routes import ErasuresController
from backend.domains.moves.report import report_misplaced_voices
from backend.domains.moves.routes import MovesController
from backend.domains.recordings.routes import RecordingsController, take_recording
from backend.domains.reflections.clone_routes import VoiceCloneController
from backend.domains.reflections.legacy_routes import LegacyController
from backend.domains.reflections.recovery_routes import RecoveryController
from backend.domains.reflections.routes import ReflectionsController
from backend.domains.samples.routes import CloneController
from backend.domains.samples.sample_routes import UnversionedVoiceSamplesController, VoiceSamplesController
from backend.domains.speech.job_routes import SpeechJobsController, UnversionedSpeechJobsController
from backend.domains.speech.routes import SpeechController
from backend.domains.spoken_consents.routes import SpokenConsentsController
from backend.domains.voices.notice_routes import take_voice_notice
from backend.domains.voices.routes import VoicesController
from backend.domains.webhooks.routes import WebhooksController
from backend.lifecycle.event_routes import EventsController
from backend.lifecycle.event_streams import EventHub
from backend.lifecycle.launch_gate import launch_gates
from backend.lifecycle.slots import keep_slots
from backend.page.operations.overview import Overviews
from backend.page.operations.routes import operations_routes
from backend.page.reference_routes import openapi_config
from backend.page.routes import page_routes
from backend.provenance.marking import AudioMarker
from backend.provenance.routes import read_kept_manifest, verify_audio
from backend.provenance.signing import load_signing_key
from backend.provenance.time_stamps import TimeStamper
from backend.provenance.verifying import MarkReader
from backend.providers.base import ProviderError
from backend.providers.decoding import SpeechDecoder
from backend.providers.local.adapter import LocalProvider
from backend.providers.problems import answer_provider_error
from backend.providers.registry import remote_providers
from backend.queues.draining import Drainer
from backend.sandbox.kernel import hide_from_workers
from backend.settings import Settings, load_settings
from backend.settings.server import SERVER_PID
from backend.storage.buckets import LOCAL_VOICES, REFERENCE_VOICES
from backend.storage.client import Storage, StorageProfiles
from backend.storage.samples import StoredSamples
from backend.telemetry.traces import configure_traces, end_traces
from backend.web.answers import Answer
from backend.web.authentication import TokenVerifier, provide_caller
from backend.web.background import Background
from backend.web.contract import Contract
from backend.web.deadlines import ClientDeadlines
from backend.web.health import HealthController, Probes
from backend.web.logs import configure_logging, log
from backend.web.metrics import database_metrics, show_metrics
from backend.web.problems import FORM_PARTS, answer_problem
from backend.web.rate_limits import RateLimits
from backend.web.request_bounds import RequestBounds
from backend.web.request_log import RequestLog
from backend.web.requests import BoundedRequest
from backend.web.stopping import OpenRequests, end_stalled_connections
from backend.web.upstreams import Upstreams

ROUTES: list[ControllerRouterHandler] = [
    CloneController,
    ConsentsController,
    EmployeeCloneController,
    EmployeeConsentsController,
    EmployeeVoiceController,
    EmployeeRecoveryController,
    ErasuresController,
    InvitationsController,
    EventsController,
    HealthController,
    InternalController,
    LegacyController,
    MovesController,
    RecordingsController,
    ReflectionsController,
    SpeechController,
    SpeechJobsController,
    SpokenConsentsController,
    UnversionedSpeechJobsController,
    UnversionedVoiceSamplesController,
    VoiceSamplesController,
    VoiceCloneController,
    RecoveryController,
    VoicesController,
    show_metrics,
    take_recording,
    take_voice_notice,
    read_kept_manifest,
    verify_audio,
    WebhooksController,
    *STEP_ROUTES,
]

PR_SET_PDEATHSIG = 1


def create_app(
    settings: Settings | None = None, routes: Sequence[ControllerRouterHandler] = ROUTES
) -> Litestar:
    settings = settings or load_settings()
    configure_logging(settings.server.log_level, settings.server.log_format)
    if reason := configure_traces("likeness-service"):
        log.warning("traces_not_sent", reason=reason)

    upstreams = Upstreams(settings.network.allowed)
    database = Database(settings.database)
    storage = Storage(settings.supabase, upstreams.storage)
    verifier = TokenVerifier(settings.supabase, upstreams.keys)
    background = Background()
    deadlines = ClientDeadlines()
    limits = RateLimits(settings.limits, database)
    hub = EventHub(settings.database, database.reads)
    decoder = SpeechDecoder()
    local = LocalProvider(StorageProfiles(storage, LOCAL_VOICES))
    reference_voices = StorageProfiles(storage, REFERENCE_VOICES)
    remote = remote_providers(
        settings.providers, upstreams, StoredSamples(storage), reference_voices, decoder
    )
    context = AppContext(
        settings=settings,
        database=database,
        storage=storage,
        providers={local.name: local, **remote},
        inspector=AudioInspector(),
        marker=AudioMarker(load_signing_key(settings.provenance), time_stamper(settings, upstreams)),
        recordings=upstreams.recordings,
        webhooks=upstreams.webhooks,
    )
    spoken_examiner = SpokenExaminer()
    mark_reader = MarkReader(f"{context.marker.key.chain}\n{settings.provenance.anchors}")
    drainer = Drainer(
        local_queues(context), settings.queues, database.pool, settings.attempts.max_jobs, background.start
    )
    gates = launch_gates(database.reads)
    measured = database_metrics(database.reads)
    overviews = Overviews(database.reads)
    probes = Probes(
        required={"database": partial(probe_database, database), "storage": storage.probe},
        reported={"consumers": partial(probe_consumers, database)},
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with upstreams, database, hub:
            background.start(report_sandbox())
            context.marker.report()
            background.start(report_misplaced_voices(context))
            keeping = background.start(keep_slots(context))
            yield
            keeping.cancel()
            drainer.stop()
            await background.drain()
            await context.inspector.aclose()
            await spoken_examiner.aclose()
            await context.marker.aclose()
            await mark_reader.aclose()
            await local.aclose()
            await decoder.aclose()
            await asyncio.to_thread(end_traces)

    app = Litestar(
        [*routes, *page_routes(settings), *operations_routes(settings)],
        lifespan=[lifespan],
        state=State(
            {
                "settings": settings,
                "database": database,
                "storage": storage,
                "verifier": verifier,
                "hub": hub,
                "deadlines": deadlines,
                "limits": limits,
            }
        ),
        dependencies={
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "database": Provide(lambda: database, sync_to_thread=False),
            "storage": Provide(lambda: storage, sync_to_thread=False),
            "context": Provide(lambda: context, sync_to_thread=False),
            "hub": Provide(lambda: hub, sync_to_thread=False),
            "background": Provide(lambda: background, sync_to_thread=False),
            "limits": Provide(lambda: limits, sync_to_thread=False),
            "drainer": Provide(lambda: drainer, sync_to_thread=False),
            "launch_gates": Provide(lambda: gates, sync_to_thread=False),
            "spoken_examiner": Provide(lambda: spoken_examiner, sync_to_thread=False),
            "mark_reader": Provide(lambda: mark_reader, sync_to_thread=False),
            "database_metrics": Provide(lambda: measured, sync_to_thread=False),
            "overviews": Provide(lambda: overviews, sync_to_thread=False),
            "probes": Provide(lambda: probes, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers={ProviderError: answer_provider_error, Exception: answer_problem},
        request_max_body_size=None,  # RequestBounds has the limits
        multipart_form_part_limit=FORM_PARTS,
        request_class=BoundedRequest,
        response_class=Answer,
        cors_config=cors(settings.server.allowed_origins),
        openapi_config=openapi_config(settings),
        plugins=[Contract()],
        logging_config=None,
    )
    app.asgi_handler = RequestBounds(
        app,
        RequestLog(
            app.asgi_handler, settings.server.internal_token
        ),  # outside of routing, so that a 404 has a request id too
        deadlines,
        pause=settings.server.request_timeout,
        sample_bytes=settings.attempts.max_sample_bytes,
    )
    return app


def time_stamper(settings: Settings, upstreams: Upstreams) -> TimeStamper | None:
    url = settings.provenance.timestamp_url
    return TimeStamper(url, upstreams.time_stamps) if url else None


def create_worker_app() -> Litestar:
    """The app in a worker process. The worker dies with its server process, which frees the port."""
    hide_from_workers()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[SERVER_PID]):  # the server died before prctl took effect
            sys.exit(1)
    app = create_app()
    app.state.requests = app.asgi_handler = OpenRequests(app.asgi_handler)
    app.on_startup.append(stop_without_delay)
    return app


async def stop_without_delay(app: Litestar) -> None:
    """At SIGTERM close the event streams, and wait no longer for clients that send or read nothing.

    The server waits for open connections.
    The server's own handler is left on SIGINT, which is how the signal is passed on.
    """

    def stop() -> None:
        app.state.hub.close()
        app.state.deadlines.close()
        port = app.state.settings.server.port
        app.state.ending = asyncio.create_task(end_stalled_connections(app.state.requests, port))
        os.kill(os.getpid(), signal.SIGINT)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)


def cors(origins: list[str]) -> CORSConfig | None:
    """Tokens travel in a header, never in a cookie, so no credentials are allowed."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        allow_headers=[
            "authorization",
            "content-type",
            "idempotency-key",
            "invitation-token",
            "last-event-id",
            "x-request-id",
        ],
        expose_headers=[
            "idempotency-replayed",
            "next-cursor",
            "ratelimit",
            "ratelimit-policy",
            "retry-after",
            "x-request-id",
        ],
        max_age=600,
    )
