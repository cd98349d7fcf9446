"""The event stream of an attempt: its transitions as server-sent events, resumable by `Last-Event-ID`."""

import asyncio
import random
import re
import time
from collections.abc import Callable
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from backend.database.caller import Caller
from backend.database.pool import Database
from backend.errors import InvalidInput, NotFound
from backend.lifecycle.event_streams import EventHub, EventStream, Transition, queries
from backend.settings import Settings
from backend.web.authentication import UserRequest, require_user
from backend.web.contract import CODES, HEADERS, header
from backend.web.deadlines import ClientDeadlines
from backend.web.error_codes import ErrorCode as E
from backend.web.logs import log

EVENT_ID = re.compile(r"[0-9]{1,18}")
STALLED_HEARTBEATS = 2  # a client that reads nothing for so many heartbeats is disconnected
EVENTS = ResponseSpec(
    Transition,
    description="The `data` of each event; its `id` is where to resume.",
    media_type="text/event-stream",
    generate_examples=False,
)
FINAL = ResponseSpec(
    None, description="The attempt is final, and all its events were sent.", generate_examples=False
)
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # else nginx buffers the events


class EventStreamResponse(ASGIStreamingResponse):
    """`text/event-stream`, until the attempt is final, the token expires, the client or the process stops."""

    def __init__(
        self,
        hub: EventHub,
        deadlines: ClientDeadlines,
        caller: Caller,
        attempt_id: UUID,
        after: int,
        heartbeat: float,
    ) -> None:
        super().__init__(iterator=(), media_type="text/event-stream", headers=STREAM_HEADERS)
        self._hub = hub
        self._deadlines = deadlines
        self._caller = caller
        self._attempt_id = attempt_id
        self._after = after
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._hub.follow(self._attempt_id, self._caller.user_id, self._after) as stream:
            await self.start_response(send)
            expiry = asyncio.get_running_loop().call_later(seconds_left(self._caller), stream.end)
            watching = asyncio.create_task(when_gone(receive, stream.end))
            try:
                await self._send_events(stream, send)
            except TimeoutError:
                log.info("stream_stalled", after=stream.after)
            finally:
                expiry.cancel()
                watching.cancel()

    async def _send_events(self, stream: EventStream, send: Send) -> None:
        # Random, so that clients of a stopped process do not all reconnect at the same moment.
        chunk: bytes | None = b"retry: %d\n\n" % random.randint(500, 2500)  # noqa: S311
        while chunk is not None:
            async with self._deadlines.within(STALLED_HEARTBEATS * self._heartbeat):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await stream.next(self._heartbeat)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventsController(Controller):
    path = "/v1/voice-clone-attempts/{attempt_id:uuid}/events"
    guards = (require_user,)
    tags = ("reflections",)

    @get(
        media_type="text/event-stream",
        responses={200: EVENTS, 204: FINAL},
        opt={
            CODES: [E.NOT_FOUND, E.TOO_MANY_EVENT_STREAMS],
            HEADERS: [
                header("Last-Event-ID", "The id of the last event that was received: resume after it.")
            ],
        },
    )
    async def follow_attempt(
        self,
        attempt_id: FromPath[UUID],
        request: UserRequest,
        settings: NamedDependency[Settings],
        database: NamedDependency[Database],
        hub: NamedDependency[EventHub],
    ) -> ASGIResponse:
        """The attempt's transitions as server-sent events, within milliseconds of their commit.

        For its user, or a member of its organization.

        Resume with `Last-Event-ID`. The stream ends when the attempt is final; a later request then gets 204.
        It ends earlier when the token expires, the client is too slow, or the service stops: resume then.
        """
        after = last_event_id(request.headers.get("last-event-id", ""))
        parameters = {"attempt": attempt_id, "user": request.user.user_id, "after": after}
        more = await database.reads.fetch_value(queries.has_more_events, parameters, of=bool)
        if more is None:
            raise NotFound("There is no such attempt.")
        if not more:
            return ASGIResponse(status_code=204)
        deadlines: ClientDeadlines = request.app.state.deadlines
        heartbeat = settings.server.stream_heartbeat
        return EventStreamResponse(hub, deadlines, request.user, attempt_id, after, heartbeat)


class Expiry(Struct):
    exp: float


def seconds_left(caller: Caller) -> float:
    return msgspec.json.decode(caller.claims, type=Expiry).exp - time.time()


def last_event_id(text: str) -> int:
    """The last event that the client received; 0 for none."""
    if not text:
        return 0
    if not EVENT_ID.fullmatch(text):
        raise InvalidInput(
            "This is not an event id.",
            field="Last-Event-ID",
            help="Leave it out to start from the first event.",
        )
    return int(text)


async def when_gone(receive: Receive, call: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call()
