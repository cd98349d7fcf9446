"""Workers of the lifecycle in this process: real steps, database and Storage, and a simulated ElevenLabs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from backend.audio.inspect import AudioInspector
from backend.context import AppContext
from backend.database.pool import Database
from backend.lifecycle.attempts import Work
from backend.lifecycle.claim import Step, queries
from backend.lifecycle.leases import WORKER_ID, Claim
from backend.provenance.marking import AudioMarker
from backend.provenance.signing import load_signing_key
from backend.providers.base import VoiceProvider
from backend.providers.registry import remote_providers
from backend.settings import load_settings
from backend.storage.buckets import REFERENCE_VOICES
from backend.storage.client import Storage, StorageProfiles
from backend.storage.samples import StoredSamples
from backend.web.upstreams import Upstreams
from tests.backend.conftest import INTERNAL_TOKEN
from tests.backend.storages import JWT_SECRET, SECRET_KEY
from tests.fixture import Fixture, Row
from tests.simulators import ELEVENLABS_KEY, Simulator, spoken_sample

PROVIDER = "elevenlabs"


class Workers:
    """What a worker does to one attempt, and what its rows say afterwards."""

    def __init__(self, given: Fixture, context: AppContext, user: UUID, attempt: UUID) -> None:
        self.given = given
        self.context = context
        self.user = user
        self.attempt = attempt

    @property
    def provider(self) -> VoiceProvider:
        return self.context.providers[PROVIDER]

    @property
    def row(self) -> Row:
        return self.given.attempt(self.attempt)

    def enrollments(self) -> list[Row]:
        rows = "select * from voice_clone.enrollments where attempt_id = %s order by created_at"
        return self.given.superuser.execute(rows.encode(), (self.attempt,)).fetchall()

    async def claim(self) -> Step:
        values = {
            "attempt": self.attempt,
            "worker": WORKER_ID,
            "lease": 60,
            "user_cap": 4,
            "max_jobs": 50,
            "early": True,
        }
        claim = await self.context.database.fetch_one(queries.claim, values, row=Claim[Work])
        assert claim is not None
        assert claim.work is not None
        assert claim.lease_epoch is not None
        return Step(context=self.context, work=claim.work, epoch=claim.lease_epoch, message_id=None)

    def pass_time(self) -> None:
        """Every wait and lease is over, and every enrollment is settled."""
        with self.given.superuser.transaction():
            self.given.superuser.execute("set local session_replication_role = replica")
            self.given.superuser.execute("update public.voice_clone_attempts set not_before = now()")
            self.given.superuser.execute("update voice_clone.enrollments set settles_at = now()")
            self.given.superuser.execute(
                "update voice_clone.deadlines set lease_expires_at = now() where lease_expires_at is not null"
            )

    def outlast(self) -> None:
        """The outage lasts longer than is waited for."""
        with self.given.superuser.transaction():
            self.given.superuser.execute("set local session_replication_role = replica")
            self.given.superuser.execute(
                "update public.voice_clone_attempts set waiting_since = now() - interval '25 h'"
            )


@asynccontextmanager
async def workers(
    given: Fixture, providers: Simulator, storage_url: str, **settings: str
) -> AsyncIterator[Workers]:
    """With a queued attempt of a reflection at ElevenLabs, its sample stored."""
    environment = {
        "DATABASE_URL": given.database.service,
        "SUPABASE_URL": storage_url,
        "SUPABASE_SECRET_KEY": SECRET_KEY,
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "SUPABASE_JWKS_URL": "off",
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs",
        **settings,
    }
    loaded = load_settings(environment)
    upstreams = Upstreams(loaded.network.allowed)
    storage = Storage(loaded.supabase, upstreams.storage)
    remote = remote_providers(
        loaded.providers, upstreams, StoredSamples(storage), StorageProfiles(storage, REFERENCE_VOICES)
    )
    async with upstreams, Database(loaded.database) as database:
        context = AppContext(
            settings=loaded,
            database=database,
            storage=storage,
            providers=remote,
            inspector=AudioInspector(),
            marker=AudioMarker(load_signing_key(loaded.provenance)),
            recordings=upstreams.recordings,
            webhooks=upstreams.webhooks,
        )
        user = given.user()
        attempt = given.open(user, given.reflection(user))
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = %s where id = %s", (PROVIDER, attempt)
        )
        given.queue(attempt, user)
        sample = spoken_sample(6.0)
        await storage.upload("voice-samples", f"{user}/{attempt}/prepared.wav", sample, "audio/wav")
        given.superuser.execute(
            "update public.voice_samples set prepared_bytes = %s where user_id = %s", (len(sample), user)
        )
        try:
            yield Workers(given, context, user, attempt)
        finally:
            await context.inspector.aclose()
            await context.marker.aclose()
