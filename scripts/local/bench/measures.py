"""The measurements, each with its floor."""

import asyncio
import json
import time
from uuid import uuid4

import psycopg

from backend.app.queues import QUEUES
from backend.settings.database import DatabaseSettings
from backend.web.http_client import HttpClient
from queue_consumers.http_steps import http_queue
from queue_consumers.resident import consume
from queue_consumers.settings import ConsumerSettings, ProcessSettings
from scripts.local.bench.figures import ROUNDS, Figure, against_floor, at_least, at_most, middle
from scripts.local.bench.load import milliseconds, request_bytes, requests_per_second
from scripts.local.bench.messages import measure_messages_per_second, measure_pick_up
from scripts.local.bench.seed import Bench, connected, queries

SECONDS = 2.0
CONNECTIONS = 32
UPLOADS = 1_000
UPLOADS_AT_A_TIME = 20  # then as many of the floor's, so that both see the same moments of the machine
UPLOADS_EACH = 5  # as many as one user may have open
MIRRORS = 10_000
SWEPT = 1_000
POLL_SECONDS = 0.01


async def launch_gate(bench: Bench) -> list[Figure]:
    """Over HTTP at 32 connections, beside the same server doing one `select 1`."""
    user = bench.users(1)
    reflection = bench.run(queries.launchable, {"users": user}, past_triggers=True)[0]
    url = bench.stack.api_url
    token = {"authorization": f"Bearer {bench.token(user[0])}"}
    gate = request_bytes(f"{url}/v1/reflections/{reflection}/launch-gate", token)
    floor = request_bytes(f"{url}/bench/select-1", {})
    gates, floors = [], []
    for _ in range(ROUNDS):
        floors.append(await requests_per_second(url, floor, connections=CONNECTIONS, seconds=SECONDS))
        gates.append(await requests_per_second(url, gate, connections=CONNECTIONS, seconds=SECONDS))
    name = "launch gate, 32 connections"
    return [against_floor(name, middle(gates), "requests/s", middle(floors), at_least=0.8)]


async def upload_url(bench: Bench) -> list[Figure]:
    """Opening an upload, beside Storage's own signing call; one connection each."""
    url, storage = bench.stack.api_url, bench.stack.supabase_url
    floors, values = [], []
    signing, opening = signings(bench), openings(bench)
    for first in range(0, UPLOADS, UPLOADS_AT_A_TIME):
        some = slice(first, first + UPLOADS_AT_A_TIME)
        floors.append(await milliseconds(storage, signing[some]))
        values.append(await milliseconds(url, opening[some]))
    name = "upload-url, one connection"
    return [against_floor(name, middle(values), "ms", middle(floors), at_most=1.5)]


def openings(bench: Bench) -> list[bytes]:
    """Requests for upload URLs, by people who have opened none yet."""
    users = bench.users(UPLOADS // UPLOADS_EACH)
    consents = bench.run(queries.consents, {"users": users})
    requests = []
    for user, consent in zip(users, consents, strict=True):
        body = json.dumps({"consent_id": str(consent), "content_type": "audio/wav", "bytes": 1000}).encode()
        token = {"authorization": f"Bearer {bench.token(user)}"}
        url = f"{bench.stack.api_url}/api/clone/upload-url"
        requests += [request_bytes(url, token, body)] * UPLOADS_EACH
    return requests


def signings(bench: Bench) -> list[bytes]:
    """As many requests for Storage's own signed upload URLs."""
    secret = bench.stack.secret_key
    keys = {"apikey": secret, "authorization": f"Bearer {secret}"}
    sign = f"{bench.stack.supabase_url}/storage/v1/object/upload/sign/voice-samples/bench"
    return [request_bytes(f"{sign}/{uuid4()}.wav", keys, b"{}") for _ in range(UPLOADS)]


async def messages(bench: Bench) -> list[Figure]:
    per_second = await measure_messages_per_second(bench.stack.database_url)
    rounds = [await measure_pick_up(bench.stack.database_url) for _ in range(ROUNDS)]
    p50, p99 = (middle(each) for each in zip(*rounds, strict=True))
    floor = notify_round_trip(bench)
    return [
        at_least(
            "messages through the consumer runtime", per_second, "messages/s", 10_000, one_at_a_time(bench)
        ),
        at_most("idle pick-up, p50", p50 * 1000, "ms", 5, floor),
        at_most("idle pick-up, p99", p99 * 1000, "ms", 50, floor),
    ]


def one_at_a_time(bench: Bench, count: int = 1000) -> float:
    """Messages/s of a plain loop: read one, archive it."""
    with psycopg.connect(bench.stack.database_url, autocommit=True) as connection:
        body = json.dumps({"id": str(uuid4())})
        connection.execute(
            "select voice_clone.send_messages('voice_preview', array_fill(%s::jsonb, %s), 0)", [body, [count]]
        )
        started = time.perf_counter()
        for _ in range(count):
            row = connection.execute(
                "select msg_id from voice_clone.read_messages('voice_preview', 30, 1)"
            ).fetchone()
            assert row is not None  # noqa: S101 - we sent as many
            connection.execute("select voice_clone.acknowledge_messages('voice_preview', %s)", [[row[0]]])
        return count / (time.perf_counter() - started)


def notify_round_trip(bench: Bench, count: int = 200) -> float:
    """Milliseconds from NOTIFY on one connection to its arrival on another."""
    taken = []
    with (
        psycopg.connect(bench.stack.database_url, autocommit=True) as listener,
        psycopg.connect(bench.stack.database_url, autocommit=True) as sender,
    ):
        listener.execute("listen bench_round_trip")
        for _ in range(count):
            started = time.perf_counter()
            sender.execute("notify bench_round_trip")
            next(listener.notifies(stop_after=1))
            taken.append((time.perf_counter() - started) * 1000)
    return middle(taken)


async def sweep(bench: Bench) -> list[Figure]:
    """Attempts whose message was lost, sent again in one run, beside the bookkeeping of one statement."""
    reflections = bench.new_reflections(SWEPT)
    attempts = bench.run(queries.queued, {"reflections": reflections, "path": "p", "bytes": 1})
    floors, values = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        bench.run(queries.unswept, {"attempts": attempts}, past_triggers=True)
        floors.append(SWEPT / (time.perf_counter() - started))
        bench.run(queries.lost, {"attempts": attempts}, past_triggers=True)
        started = time.perf_counter()
        swept = sum(bench.run(queries.swept, {})[0] for _ in range(0, SWEPT, 500))
        values.append(SWEPT / (time.perf_counter() - started))
        if swept != SWEPT:
            raise RuntimeError(f"{SWEPT} attempts were due, and {swept} were swept")
    bench.run(queries.withdrawn, {"attempts": attempts}, past_triggers=True)
    for queue in ("voice_clone_process", "voice_mirror"):
        bench.run("select pgmq.purge_queue(%(queue)s)", {"queue": queue})
    return [at_least("swept, 1,000 due", middle(values), "attempts/s", 1_000, middle(floors))]


async def mirrors(bench: Bench) -> list[Figure]:
    """Reflections brought up to date by the consumer, beside a plain update of the same rows."""
    reflections = bench.run(queries.launchable, {"users": bench.users(MIRRORS)}, past_triggers=True)
    wanted = {"reflections": reflections}
    floors, values = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        bench.run(queries.plain_update, wanted, past_triggers=True)
        floors.append(MIRRORS / (time.perf_counter() - started))
        bench.run(queries.unmirrored, wanted, past_triggers=True)
        bench.run(queries.mirror_messages, wanted)
        values.append(await mirrors_per_second(bench))
    return [at_least("reflections mirrored", middle(values), "reflections/s", 5_000, middle(floors))]


async def mirrors_per_second(bench: Bench) -> float:
    """By a consumer that finds their messages in its queue."""
    settings = ProcessSettings(
        database=DatabaseSettings(url=bench.stack.database_url),
        service=None,
        consumer=ConsumerSettings(poll_seconds=3600),
    )
    mirror = http_queue(QUEUES["voice_mirror"], HttpClient())  # it has no step over HTTP
    stop, waiting = asyncio.Event(), "select from pgmq.q_voice_mirror limit 1"
    async with connected(bench) as connection:
        started = time.perf_counter()
        consumer = asyncio.create_task(consume(settings, [mirror], stop))
        while await (await connection.execute(waiting)).fetchone() is not None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        taken = time.perf_counter() - started
    stop.set()
    await consumer
    return MIRRORS / taken
