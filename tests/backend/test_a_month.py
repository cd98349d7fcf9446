"""A month, a day at a time: what the schedule says goes on its day, what it does not say stays.

Time passes for the rows: each day every time in the database is moved a day back. Then a scheduler's calls
follow, the sweep and the drains, to the real service with its Storage and its providers.
"""

import math
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from psycopg import sql

from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.backend.storages import JWT_SECRET, SECRET_KEY, embedded_storage
from tests.database.test_speech_jobs import request as request_speech
from tests.fixture import Fixture
from tests.simulators import ELEVENLABS_KEY, QWEN_KEY, Simulator, simulator, spoken_sample

DAY_SECONDS = 86_400
DAYS = 33
TIMES = """
select c.oid::regclass::text as name, array_agg(a.attname order by a.attnum) as columns
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  and a.atttypid = 'timestamptz'::regtype
where c.relkind in ('r', 'p') and not c.relispartition
  and (n.nspname in ('public', 'voice_clone') or n.nspname = 'pgmq' and c.relname like 'q\\_%'
    or c.oid = 'storage.objects'::regclass)
group by c.oid
"""


class Month:
    """The project, its service and its providers."""

    def __init__(self, given: Fixture, service: Served, storage_url: str, providers: Simulator) -> None:
        self.given = given
        self.service = service
        self.storage_url = storage_url
        self.providers = providers
        self.tables = given.superuser.execute(TIMES).fetchall()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        token = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
        answer = await self.service.http.post(f"/internal{path}", json=body, headers=token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pass_a_day(self) -> None:
        with self.given.superuser.transaction():
            self.given.superuser.execute("set local session_replication_role = replica")
            for table in self.tables:
                name = sql.SQL(".").join(map(sql.Identifier, table["name"].split(".")))
                moved = sql.SQL(", ").join(
                    sql.SQL("{0} = {0} - interval '1 day'").format(sql.Identifier(each))
                    for each in table["columns"]
                )
                self.given.superuser.execute(sql.SQL("update {} set {}").format(name, moved))

    async def work(self) -> None:
        """Until nothing is due and no message is left."""
        while True:
            swept = await self.post("/sweep", {"limit": 500})
            queues = self.given.superuser.execute(
                "select queue from operations.queue_metrics() where queue_length > 0"
            ).fetchall()
            for row in queues:
                await self.post(f"/queues/{row['queue']}/drain", {"seconds": 5})
            if not swept and not queues:
                return

    async def voice(self, provider: str, region: str = "") -> tuple[UUID, UUID]:
        """A user with a voice that has a preview. Their sample's file and its prepared form are stored."""
        given = self.given
        user = given.user()
        attempt = given.open(user, given.reflection(user))
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = %s, region = %s where id = %s",
            (provider, region, attempt),
        )
        sample = spoken_sample(6.0)
        for name in ("sample", "prepared"):
            await self.upload(f"{user}/{attempt}/{name}.wav", sample)
        given.queue(attempt, user)
        given.superuser.execute(
            "update public.voice_samples set prepared_bytes = %s where user_id = %s", (len(sample), user)
        )
        await self.work()
        assert given.attempt(attempt)["preview_status"] == "rendered"
        return user, attempt

    async def upload(self, path: str, data: bytes) -> None:
        keys = {"apikey": SECRET_KEY, "authorization": f"Bearer {SECRET_KEY}", "content-type": "audio/wav"}
        url = f"{self.storage_url}/storage/v1/object/voice-samples/{path}"
        stored = await self.service.http.post(url, content=data, headers=keys)
        assert stored.status_code == 200, stored.text

    def files(self, bucket: str, user: UUID) -> int:
        query = "select count(*) from storage.objects where bucket_id = %s and starts_with(name, %s)"
        return self.given.truth(query, bucket, f"{user}/")["count"]

    async def schedule(self) -> dict[str, int | None]:
        """What the service says to everybody, in days."""
        answer = await self.service.http.get("/v1/retention")
        seconds = {row["name"]: row["seconds"] for row in answer.json()}
        return {name: each and math.ceil(each / DAY_SECONDS) for name, each in seconds.items()}


@pytest.fixture(scope="module")
def quick_providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest_asyncio.fixture
async def month(given: Fixture, quick_providers: Simulator, tmp_path: Path) -> AsyncIterator[Month]:
    quick_providers.reset()
    settings = {
        "SUPABASE_SECRET_KEY": SECRET_KEY,
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{quick_providers.url}/elevenlabs",
        "QWEN_API_KEY": QWEN_KEY,
        "QWEN_REGION": "singapore",
        "QWEN_BASE_URL": f"{quick_providers.url}/qwen/singapore",
        "DATABASE_TIMEOUT_SECONDS": "10",
        "MAX_SAMPLE_BYTES": "2000000",
    }
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        served(tmp_path, given.database.service, storage.url, **settings) as service,
    ):
        yield Month(given, service, storage.url, quick_providers)


async def test_a_month_leaves_exactly_what_the_schedule_says(month: Month) -> None:
    given, providers = month.given, month.providers
    ada, adas = await month.voice("elevenlabs")
    held, _ = await month.voice("elevenlabs")
    given.superuser.execute("select operations.place_hold(%s, 'a lawsuit')", (held,))
    cid, cids = await month.voice("elevenlabs")
    given.one("select voice_clone.delete_voice(%s, %s)", given.attempt(cids)["voice_id"], cid)
    _, silent = await month.voice("qwen", "singapore")
    dee = given.user()
    upload = given.open(dee, given.reflection(dee))
    await month.upload(f"{dee}/{upload}/sample.wav", spoken_sample(6.0))
    job = request_speech(given, ada, given.attempt(adas)["sample_id"], provider="elevenlabs")["id"]
    await month.work()
    assert given.truth("select status from public.speech_jobs where id = %s", job)["status"] == "succeeded"

    # The voice at Qwen has not been used for 170 days, and Qwen deletes what is not used for a year.
    given.superuser.execute(
        "update public.voices set created_at = created_at - interval '170 days',"
        " spoken_at = spoken_at - interval '170 days' where attempt_id = %s",
        (silent,),
    )
    at_elevenlabs = {row["voice_id"] for row in providers.voices("elevenlabs")}
    cids_voice = given.truth("select provider_voice_id from public.voices where attempt_id = %s", cids)
    spoken = len(providers.calls("qwen", "speech"))

    def present() -> set[str]:
        """What is kept, by its name in the schedule."""
        row = given.truth("select text, path, removed_at from public.speech_jobs where id = %s", job)
        kept = {
            "sample": month.files("voice-samples", ada) == 2,
            "preview": month.files("voice-previews", ada) == 1,
            "deleted_voice": cids_voice["provider_voice_id"]
            in {voice["voice_id"] for voice in providers.voices("elevenlabs")},
            "upload": month.files("voice-samples", dee) == 1,
            "speech_result": row["text"] is not None and row["path"] is not None,
            "held": (month.files("voice-samples", held), month.files("voice-previews", held)) == (2, 1),
        }
        return {name for name, is_kept in kept.items() if is_kept}

    schedule = await month.schedule()
    wanted = {
        name: schedule[name] for name in ("sample", "preview", "deleted_voice", "upload", "speech_result")
    }
    gone: dict[str, int] = {}
    canaries: list[int] = []
    before = present()
    assert before == {*wanted, "held"}
    for day in range(1, DAYS + 1):
        month.pass_a_day()
        await month.work()
        now = present()
        gone |= dict.fromkeys(before - now, day)
        before = now
        if (calls := len(providers.calls("qwen", "speech"))) > spoken + len(canaries):
            canaries += [day] * (calls - spoken - len(canaries))
    assert gone == wanted
    assert before == {"held"}
    assert canaries in ([10], [11]), "once, when it had been silent for 180 days; a check comes each day"
    assert {row["voice_id"] for row in providers.voices("elevenlabs")} == at_elevenlabs - {
        cids_voice["provider_voice_id"]
    }
    assert providers.delete_unused(time.time() - 3600) == [], "each was used lately"
    for attempt in (adas, silent):
        assert given.attempt(attempt)["status"] == "ready", "a voice outlives its sample"
    assert given.attempt(upload)["status"] == "expired"
    left = (
        "select sum(queue_length + deferred_length + dead_length)::int as count"
        " from operations.queue_metrics()"
    )
    assert given.truth(left)["count"] == 0
    assert given.truth("select count(*) from voice_clone.sweep_errors")["count"] == 0
    assert given.truth("select count(*) from voice_clone.object_removals")["count"] == 0
