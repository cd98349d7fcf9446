"""Realtime, as far as the database broadcasts: a client joins a channel, and the policies decide whether.

The Phoenix protocol, version 2: text frames `[join_ref, ref, topic, event, payload]`. What clients send to
each other, presence and changes of tables are not served.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
import psycopg
from litestar.types import Receive, Send, WebSocketScope
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from scripts.local.supabase.storage.errors import LocalStorageError
from scripts.local.supabase.storage.tokens import Keys, RequestUser, identify

logger = logging.getLogger(__name__)

PATH = "/realtime/v1/websocket"
MOST_CHANNELS = 100  # of one socket
MOST_WAITING = 1000  # frames for a client that does not read; then it is disconnected
RECONNECT_SECONDS = 0.5
SCOPE = """
select set_config('role', %(role)s, true), set_config('realtime.topic', %(topic)s, true),
  set_config('request.jwt.claims', %(claims)s, true)
"""
PROBE = """
insert into realtime.messages (topic, extension, private) values (%(topic)s, 'broadcast', true) returning id
"""
READABLE = "select from realtime.messages where id = %(id)s and topic = %(topic)s and extension = 'broadcast'"

Frame = tuple[str | None, str | None, str, str, dict[str, Any]]


class ChannelError(Exception):
    """Why a channel is not joined."""


class Channel(msgspec.Struct):
    join_ref: str | None
    is_private: bool
    expires_at: float | None


class Socket:
    """One client: its channels by topic, and the frames that wait for it."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.channels: dict[str, Channel] = {}
        self.waiting = asyncio.Queue[Frame | None](MOST_WAITING)

    def push(self, frame: Frame) -> None:
        try:
            self.waiting.put_nowait(frame)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Disconnects it; what waits is dropped."""
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(None)

    def reply(self, to: Frame, status: str, response: dict[str, Any]) -> None:
        join_ref, ref, topic, _, _ = to
        self.push((join_ref, ref, topic, "phx_reply", {"status": status, "response": response}))

    def close(self, topic: str) -> None:
        channel = self.channels.pop(topic, None)
        if channel is not None:
            self.push((channel.join_ref, None, topic, "phx_close", {}))


class Realtime:
    """The sockets of this process, and one connection that hears of messages."""

    def __init__(self, dsn: str, keys: Keys) -> None:
        self._dsn = dsn
        self._keys = keys
        self._pool = AsyncConnectionPool(dsn, min_size=1, max_size=4, timeout=2.0, open=False)
        self._sockets = set[Socket]()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._pool.open()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
        for socket in self._sockets:
            socket.end()
        await self._pool.close()

    async def __call__(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        given = parse_qs(scope["query_string"].decode())
        token = given.get("apikey", [None])[0]
        try:
            known = token is not None and identify(self._keys, None, token) is not None
        except LocalStorageError:
            known = False
        if not known or given.get("vsn", ["1.0.0"])[0] != "2.0.0":
            await send({"type": "websocket.close", "code": 4001, "reason": "apikey or vsn"})
            return
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        async with self._joined(Socket(token)) as socket:
            writing = asyncio.create_task(write(socket, send))
            try:
                while (message := await receive())["type"] == "websocket.receive":
                    if message["text"]:
                        await self._handle(socket, message["text"])
            finally:
                writing.cancel()

    @asynccontextmanager
    async def _joined(self, socket: Socket) -> AsyncIterator[Socket]:
        self._sockets.add(socket)
        try:
            yield socket
        finally:
            self._sockets.discard(socket)

    async def _handle(self, socket: Socket, text: str) -> None:
        try:
            frame = msgspec.json.decode(text, type=Frame)
        except msgspec.DecodeError:
            socket.end()
            return
        _, _, topic, event, payload = frame
        if event == "heartbeat":
            socket.reply(frame, "ok", {})
        elif event == "phx_leave":
            socket.reply(frame, "ok", {})
            socket.close(topic)
        elif event in {"phx_join", "access_token"}:
            await self._join(socket, frame, payload.get("access_token") or socket.token)
        else:
            socket.reply(frame, "error", {"reason": f"{event} is not served by the local stack"})

    async def _join(self, socket: Socket, frame: Frame, token: str | None) -> None:
        """Joins a channel, or decides again for one that has another token."""
        join_ref, _, topic, event, payload = frame
        joined = socket.channels.get(topic)
        if event == "access_token" and joined is None:
            return
        is_private = joined.is_private if joined else bool(payload.get("config", {}).get("private"))
        try:
            if joined is None and len(socket.channels) >= MOST_CHANNELS:
                raise ChannelError("ChannelRateLimitReached: Too many channels")
            user = await self._authorise(topic.removeprefix("realtime:"), token, is_private)
        except ChannelError as error:
            if event == "phx_join":
                socket.reply(frame, "error", {"reason": str(error)})
            socket.close(topic)
            return
        socket.channels[topic] = Channel(
            joined.join_ref if joined else join_ref, is_private, user.claims.get("exp")
        )
        if event == "phx_join":
            socket.reply(frame, "ok", {"postgres_changes": []})

    async def _authorise(self, topic: str, token: str | None, is_private: bool) -> RequestUser:
        """Who joins; for a private channel the policies decide about a message that is rolled back."""
        try:
            user = identify(self._keys, None, token)
        except LocalStorageError as error:
            raise ChannelError(f"InvalidJWTToken: {error}") from error
        if user is None:
            raise ChannelError("InvalidJWTToken: a token is needed")
        if not is_private:
            return user
        values = {"role": user.role, "topic": topic, "claims": msgspec.json.encode(user.claims).decode()}
        try:
            async with self._pool.connection() as connection, connection.transaction(force_rollback=True):
                made = await connection.execute(PROBE, values)
                row = await made.fetchone()
                await connection.execute(SCOPE, values)
                found = await connection.execute(READABLE, {**values, "id": row[0] if row else None})
                allowed = await found.fetchone() is not None
        except psycopg.Error as error:
            raise ChannelError("DatabaseConnectionIssue: the policies could not be read") from error
        if not allowed:
            raise ChannelError(
                f"Unauthorized: You do not have permissions to read from this Channel topic: {topic}"
            )
        return user

    async def _listen(self) -> None:
        """While this is away messages are lost, so the clients are disconnected, and join again."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    await connection.execute("listen realtime_messages")
                    async for notification in connection.notifies():
                        await self._deliver(UUID(notification.payload))
            except (psycopg.Error, TimeoutError):
                logger.warning("realtime: the database is away")
            for socket in self._sockets:
                socket.end()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _deliver(self, message_id: UUID) -> None:
        statement = "select topic, event, payload, private from realtime.messages where id = %s"
        async with self._pool.connection() as connection:
            found = await connection.cursor(row_factory=dict_row).execute(statement, [message_id])
            row = await found.fetchone()
        if row is None:
            return
        topic = f"realtime:{row['topic']}"
        body = {
            "type": "broadcast",
            "event": row["event"],
            "payload": row["payload"],
            "meta": {"id": str(message_id)},
        }
        for socket in self._sockets:
            channel = socket.channels.get(topic)
            if channel is None or channel.is_private != bool(row["private"]):
                continue
            if channel.expires_at is not None and channel.expires_at <= time.time():
                socket.close(topic)
                continue
            socket.push((None, None, topic, "broadcast", body))


async def write(socket: Socket, send: Send) -> None:
    """What waits for a client, as it comes, until the socket ends."""
    while (frame := await socket.waiting.get()) is not None:
        await send({"type": "websocket.send", "bytes": None, "text": msgspec.json.encode(frame).decode()})
    await send({"type": "websocket.close", "code": 1011, "reason": "disconnected by the server"})
