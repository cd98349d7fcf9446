"""In the place of pg_cron and pg_net: runs the jobs of cron.job and makes the calls of net.http_post.

`python -m scripts.local.supabase.cron`, with CRON_DATABASE_URL of the login `postgres`. Jobs run one after
another; calls run side by side.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from cronsim import CronSim, CronSimError
from psycopg.rows import dict_row

TICK_SECONDS = 0.5
MOST_CALLS = 100  # in one tick, as pg_net's batch is bounded
RECONNECT_SECONDS = 1.0
JOBS = "select jobid, schedule, command, scheduled_at from cron.job where active order by jobid"
RAN = """
insert into cron.job_run_details (jobid, command, status, return_message, start_time, end_time)
values (%(jobid)s, %(command)s, %(status)s, %(message)s, %(start)s, clock_timestamp())
"""
TAKE = """
delete from net.http_request_queue where id in (
  select id from net.http_request_queue order by id limit %s for update skip locked)
returning *
"""
ANSWERED = """
insert into net._http_response (id, status_code, content, error_msg)
values (%(id)s, %(status)s, %(content)s, %(error)s)
"""

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]


def next_run(schedule: str, after: datetime) -> datetime | None:
    """Of `5 seconds`, or of five fields in UTC. None where it is neither."""
    number, _, unit = schedule.strip().partition(" ")
    if unit in ("second", "seconds") and number.isdecimal():
        return after + timedelta(seconds=int(number))
    try:
        return next(CronSim(schedule, after.astimezone(UTC)))
    except (CronSimError, StopIteration):
        return None


class Cron:
    """The clock: when each job ran last. A job that is new or changed waits for its first interval."""

    def __init__(self, connection: Connection, http: httpx.AsyncClient) -> None:
        self._connection = connection
        self._http = http
        self._last: dict[int, datetime] = {}
        self._calls = set[asyncio.Task[None]]()

    async def tick(self) -> None:
        """Runs what is due, then makes the calls that were asked for."""
        for job in await self._rows(JOBS):
            now = datetime.now(UTC)
            last = max(self._last.get(job["jobid"], job["scheduled_at"]), job["scheduled_at"])
            due = next_run(job["schedule"], last)
            if due is not None and due <= now:
                self._last[job["jobid"]] = now
                await self.run(job)
        for call in await self._rows(TAKE, (MOST_CALLS,)):
            task = asyncio.create_task(self._call(call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def run(self, job: Row) -> None:
        """In a transaction of its own; an error is written down and stops no other."""
        values: Row = {**job, "start": datetime.now(UTC), "status": "succeeded"}
        try:
            done = await self._connection.execute(job["command"].encode())
            values["message"] = done.statusmessage
        except psycopg.Error as error:
            values |= {"status": "failed", "message": str(error)}
        await self._connection.execute(RAN, values)

    def forget(self) -> None:
        """When each job ran: those whose schedule is long ago are due at the next tick."""
        self._last.clear()

    async def finish(self) -> None:
        """Until the calls under way have their answers."""
        while self._calls:
            await asyncio.gather(*self._calls)

    async def _call(self, call: Row) -> None:
        answer: Row = {"id": call["id"], "status": None, "content": None, "error": None}
        try:
            response = await self._http.request(
                call["method"],
                call["url"],
                json=call["body"],
                headers=call["headers"],
                timeout=call["timeout_milliseconds"] / 1000,
            )
            answer |= {"status": response.status_code, "content": response.text}
        except httpx.HTTPError as error:
            answer["error"] = str(error) or type(error).__name__
        await self._connection.execute(ANSWERED, answer)

    async def _rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        return await (await self._connection.execute(query.encode(), parameters)).fetchall()


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Cron]:
    async with (
        await Connection.connect(database_url, autocommit=True, row_factory=dict_row) as connection,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        yield Cron(connection, http)


async def main() -> None:
    print("cron: waiting for jobs", flush=True)
    while True:
        try:
            async with opened(os.environ["CRON_DATABASE_URL"]) as cron:
                while True:
                    await cron.tick()
                    await asyncio.sleep(TICK_SECONDS)
        except psycopg.OperationalError as error:  # Postgres stops, or starts
            print(f"cron: {error}", flush=True)
            await asyncio.sleep(RECONNECT_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
