"""The running stack that is measured, and the rows that the measures begin with."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import httpx
import jwt
import psycopg
from msgspec import Struct
from psycopg.rows import scalar_row

from backend.database.queries import load_queries
from scripts.local.supabase.stack import Stack

queries = load_queries(__file__)


class Bench(Struct):
    """A running stack, seen by its superuser."""

    stack: Stack
    prepared: tuple[str, int]  # a path in voice-samples, and its bytes

    def run(self, statement: str, parameters: Mapping[str, object], *, past_triggers: bool = False) -> list:
        """The first column."""
        with psycopg.connect(self.stack.cluster.dsn(), row_factory=scalar_row) as connection:
            if past_triggers:
                connection.execute("set local session_replication_role = replica")
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def users(self, count: int) -> list[UUID]:
        return self.run(queries.users, {"tag": uuid4().hex[:8], "count": count})

    def new_reflections(self, count: int) -> list[UUID]:
        """Each of a user with a signed consent."""
        users = self.users(count)
        self.run(queries.consents, {"users": users})
        return self.run(queries.reflections, {"users": users})

    def token(self, user: UUID) -> str:
        claims = {
            "sub": str(user),
            "role": "authenticated",
            "aud": "authenticated",
            "iss": f"{self.stack.supabase_url}/auth/v1",
            "exp": int(time.time()) + 3600,
        }
        return jwt.encode(claims, self.stack.secrets.jwt_secret)


@asynccontextmanager
async def connected(bench: Bench) -> AsyncIterator[psycopg.AsyncConnection]:
    """One connection for a whole measure: to connect costs as much as half a lifecycle."""
    async with await psycopg.AsyncConnection.connect(
        bench.stack.cluster.dsn(), autocommit=True
    ) as connection:
        yield connection


async def upload_prepared(stack: Stack, content: bytes) -> tuple[str, int]:
    """The object that every lifecycle of the benchmark enrolls."""
    path = "bench/prepared.wav"
    await store_object(stack, path, content)
    return path, len(content)


async def store_object(stack: Stack, path: str, content: bytes) -> None:
    """In the bucket of the samples."""
    headers = {
        "apikey": stack.secret_key,
        "authorization": f"Bearer {stack.secret_key}",
        "content-type": "audio/wav",
        "x-upsert": "true",
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"{stack.supabase_url}/storage/v1/object/voice-samples/{path}"
        (await http.post(url, content=content, headers=headers)).raise_for_status()
