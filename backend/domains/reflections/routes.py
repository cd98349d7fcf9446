"""A reflection's voice: mirror, custom voice, preview, launch gate, sessions, attempts."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.domains.reflections.reflections import no_reflection, owner_step, queries, require_reflection
from backend.domains.samples.alternatives import alternatives, with_alternatives
from backend.domains.samples.voice_details import Language, clean_name
from backend.errors import NotFound
from backend.lifecycle.attempts import (
    Attempt,
    AttemptEvent,
    AttemptRow,
    list_attempts,
    read_attempt,
    read_events,
)
from backend.lifecycle.custom_voice import NewCustomVoice, use_custom_voice
from backend.lifecycle.launch_gate import LaunchGate, LaunchGates
from backend.lifecycle.shown_mirror import Mirror
from backend.lifecycle.values import AttemptSource, Provider
from backend.storage.buckets import PREVIEW_BUCKET
from backend.web.answers import Answer, Cursor, Limit, listed
from backend.web.authentication import UserRequest, require_user
from backend.web.contract import CODES, EXAMPLE
from backend.web.error_codes import CLONING, PROVIDER, STORAGE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT, once
from backend.web.pages import PAGE, Page, by_time
from backend.web.rate_limits import POLICY

PREVIEW_URL_SECONDS = 600


class ReflectionVoice(Struct, frozen=True, kw_only=True):
    """The mirror as the reflection carries it; gate and source read from the attempt; the clip to hear."""

    voice: Mirror
    gate: LaunchGate
    source: AttemptSource | None  # null without a voice
    preview_url: str | None
    alternatives: list[Provider]  # providers to retry at where this one failed


class ReflectionVoiceRow(Struct, frozen=True, kw_only=True):
    voice: dict[str, Any]
    gate: LaunchGate
    source: AttemptSource | None
    preview_path: str | None
    attempt: AttemptRow | None  # where it has an error
    measures: Inspection | None  # of its sample


class CustomVoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A voice that is at its provider already. Without a name it has its reflection's."""

    provider: Provider
    provider_voice_id: Annotated[str, Meta(min_length=1, max_length=200)]
    name: str | None = None
    language: Language | None = None


class AttemptTimeline(Struct, frozen=True, kw_only=True):
    attempt: Attempt
    events: list[AttemptEvent]


class Session(Struct, frozen=True, kw_only=True):
    """A session that the gate let through."""

    session_id: UUID
    reflection_id: UUID
    attempt_id: UUID
    voice_id: UUID
    created_at: datetime


class ReflectionsController(Controller):
    path = "/v1/reflections/{reflection_id:uuid}"
    guards = (require_user,)
    tags = ("reflections",)

    @get("/voice", opt={CODES: [E.NOT_FOUND, *STORAGE]})
    async def get_reflection_voice(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> ReflectionVoice:
        """Mirror, gate, and the preview clip once it is rendered."""
        parameters = {"reflection": reflection_id, "user": caller.user_id}
        row = await context.database.reads.fetch_one(queries.voice, parameters, row=ReflectionVoiceRow)
        if row is None:
            raise no_reflection()
        url = None
        if row.preview_path is not None:
            url = await context.storage.signed_url(PREVIEW_BUCKET, row.preview_path, PREVIEW_URL_SECONDS)
        others = (
            [Provider(name) for name in alternatives(context, row.attempt, row.measures)]
            if row.attempt
            else []
        )
        return ReflectionVoice(
            voice=Mirror.of(row.voice), gate=row.gate, source=row.source, preview_url=url, alternatives=others
        )

    @patch(
        "/voice",
        status_code=202,
        opt={
            POLICY: "uploads",
            EXAMPLE: {"provider": "qwen", "provider_voice_id": "qwen-tts-vc-voice-20261123"},
            CODES: [
                *CLONING,
                *PROVIDER,
                E.VOICE_NOT_FOUND,
                E.VOICE_NOT_VERIFIED,
                E.VOICE_ACCESS_DENIED,
                E.TARGET_MODEL_UNSUPPORTED,
                E.VOICE_REMOVED,
                E.MODEL_MISMATCH,
                E.ILLEGAL_TRANSITION,
            ],
        },
    )
    async def use_custom_voice(
        self,
        reflection_id: FromPath[UUID],
        data: JSONBody[CustomVoice],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """The queued attempt, once the provider confirmed the voice; for the same voice the same attempt.

        A refused request leaves the current voice as it is.
        """
        await require_reflection(context, caller, reflection_id)
        new = NewCustomVoice(
            provider=data.provider,
            provider_voice_id=data.provider_voice_id,
            name=None if data.name is None else clean_name(data.name),
            language=data.language,
        )
        return Attempt.of(await use_custom_voice(context, caller, reflection_id, new))

    @post(
        "/voice/preview",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={POLICY: "previews", CODES: [E.NOT_FOUND, E.ILLEGAL_TRANSITION]},
    )
    async def request_preview(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Response[Attempt]:
        """Renders the clip, or renders it again; `GET …/voice` has its URL once it is rendered."""
        attempt = await owner_step(context, caller, reflection_id, queries.request_preview)
        return Answer(Attempt.of(attempt), status_code=202)

    @post(
        "/voice/preview/complete",
        status_code=200,
        middleware=IDEMPOTENT,
        opt={CODES: [E.NOT_FOUND, E.ILLEGAL_TRANSITION]},
    )
    async def complete_preview(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """The owner has heard the clip, which removes the last blocker of a launch."""
        return Attempt.of(await owner_step(context, caller, reflection_id, queries.complete_preview))

    @get("/launch-gate", opt={CODES: [E.NOT_FOUND]})
    async def get_launch_gate(
        self,
        reflection_id: FromPath[UUID],
        request: UserRequest,
        launch_gates: NamedDependency[LaunchGates],
    ) -> LaunchGate:
        """May a session start? Read from the attempt, so it is never older than the mirror."""
        gate = await launch_gates.load((reflection_id, request.user.user_id))
        if gate is None:
            raise no_reflection()
        return gate

    @post("/sessions", middleware=IDEMPOTENT, opt={CODES: [E.NOT_FOUND, E.LAUNCH_BLOCKED]})
    async def start_session(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Session:
        """201, or 409 launch_blocked with the blockers."""
        parameters = {"reflection": reflection_id, "user": caller.user_id}
        return required(await once(context.database, queries.start_session, parameters, row=Session))

    @get("/voice-clone-attempts", opt={CODES: [E.NOT_FOUND]})
    async def list_attempts(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[Attempt]]:
        """Newest first, by pages."""
        page = Page.of(cursor, limit)
        await require_reflection(context, caller, reflection_id)
        rows, following = page.cut(await list_attempts(context, caller, reflection_id, page), by_time)
        return listed(await with_alternatives(context, caller, rows), following)

    @get("/voice-clone-attempts/{attempt_id:uuid}", opt={CODES: [E.NOT_FOUND]})
    async def get_attempt(
        self,
        reflection_id: FromPath[UUID],
        attempt_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> AttemptTimeline:
        """One attempt with its timeline."""
        attempt = await read_attempt(context, caller, attempt_id)
        if attempt.reflection_id != reflection_id:
            raise NotFound("There is no such attempt.")
        events = await read_events(context, caller, attempt_id)
        (shown,) = await with_alternatives(context, caller, [attempt])
        return AttemptTimeline(attempt=shown, events=events)
