"""A refusal is answered after the body has been read: a client that still sends would not read it."""

from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

DRAIN_BYTES = 64 * 1024 * 1024
METHODS = {"POST", "PUT", "DELETE"}


class DrainBody:
    """Wraps an application; what a handler left unread is read and dropped before its answer starts."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in METHODS:
            await self.app(scope, receive, send)
            return
        more = True

        async def receive_some() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal more
            message = await receive()
            more = message["type"] == "http.request" and message["more_body"]
            return message

        async def send_after_body(message: Message) -> None:
            dropped = 0
            while more and message["type"] == "http.response.start" and dropped < DRAIN_BYTES:
                rest = await receive_some()
                dropped += len(rest["body"]) if rest["type"] == "http.request" else 0
            await send(message)

        await self.app(scope, receive_some, send_after_body)
