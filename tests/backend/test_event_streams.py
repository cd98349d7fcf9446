"""Event streams over real HTTP: which events are sent, to whom, and after which interruptions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from backend.app.server import DRAIN_SECONDS
from scripts.local.supabase.postgres import Cluster
from tests.backend.following import PATIENCE, Service, headers, serving
from tests.clusters import Database, cloned_database
from tests.fixture import Fixture

LARGE_EVENTS = 1500  # of 10 kB: more than the kernel buffers
LISTENING = "select pid from pg_stat_activity where application_name = 'likeness events'"


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(given: Fixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    async with serving(tmp_path_factory.mktemp("events"), given.database.service) as running:
        yield running


def listening(given: Fixture) -> list[int]:
    found = given.superuser.execute(
        f"{LISTENING} and datname = %s".encode(), (given.database.name,)
    ).fetchall()
    return [row["pid"] for row in found]


def record_large_events(given: Fixture, attempt: UUID, count: int) -> None:
    given.superuser.execute(
        "insert into voice_clone.events (attempt_id, version, events, changes)"
        " select %s, 1 + n, '{updated}',"
        " jsonb_build_object('version', n, 'error_message', repeat('x', 10000))"
        " from generate_series(1, %s) n",
        (attempt, count),
    )


async def until_listening(given: Fixture, count: int) -> None:
    """Only the database knows, and sends no event."""
    async with asyncio.timeout(PATIENCE):
        while len(listening(given)) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_attempt_tells_its_transitions_and_no_bookkeeping(service: Service, given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, given.reflection(user))
    async with service.follow(attempt, user) as follower:
        assert await follower.take(1) == ["opened"], "earlier events come first"
        given.queue(attempt, user)
        queued = await follower.next()
        assert queued
        assert (queued["attempt_id"], queued["version"], queued["events"]) == (str(attempt), 2, ["queued"])
        assert queued["changes"]["status"] == "queued"
        epoch = given.claim(attempt)["lease_epoch"]
        claimed = await follower.next()
        assert claimed
        assert claimed["changes"]["status"] == "processing"
        assert not {"lease_owner", "lease_epoch", "lease_seconds", "leased_at"} & set(claimed["changes"])
        assert given.one("select voice_clone.renew_lease(%s, %s, 90) as held", attempt, epoch)["held"]
        given.attach(attempt, epoch, given.intend(attempt, epoch))
        assert await follower.take(1) == ["enrolled"], "a renewed lease is no event"


async def test_a_cut_stream_resumes_after_the_last_event(service: Service, given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    async with service.follow(attempt, user) as follower:
        assert await follower.take(1) == ["opened"]
    given.queue(attempt, user)
    given.enroll(attempt)
    async with service.follow(attempt, user, after=follower.last_id) as resumed:
        assert await resumed.take(3) == ["queued", "claimed", "enrolled"]


async def test_many_listeners_share_one_connection_and_hear_their_own(
    service: Service, given: Fixture
) -> None:
    user, other = given.user(), given.user()
    attempt, another = given.open(user, None), given.open(other, None)
    async with (
        service.follow(attempt, user) as first,
        service.follow(attempt, user) as second,
        service.follow(another, other) as third,
    ):
        for follower in (first, second, third):
            assert await follower.take(1) == ["opened"]
        await until_listening(given, 1)
        given.queue(attempt, user)
        given.queue(another, other)
        events = [await follower.next() for follower in (first, second, third)]
        assert [event and event["attempt_id"] for event in events] == [
            str(attempt), str(attempt), str(another),
        ]  # fmt: skip
    await until_listening(given, 0)


async def test_only_its_owner_follows_an_attempt(service: Service, given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    for requested, sent, expected in [
        (attempt, headers(given.user()), (404, "not_found")),
        (user, headers(user), (404, "not_found")),
        (attempt, {}, (401, "token_missing")),
        (attempt, headers(user) | {"last-event-id": "-1"}, (422, "invalid_input")),
        (attempt, headers(user) | {"last-event-id": "9" * 19}, (422, "invalid_input")),
    ]:
        answer = await service.ask(requested, sent)
        assert (answer.status_code, answer.json()["code"]) == expected, sent


async def test_a_lost_listen_connection_loses_no_event(service: Service, given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    async with service.follow(attempt, user) as follower:
        assert await follower.take(1) == ["opened"]
        await until_listening(given, 1)
        lost = listening(given)
        assert given.truth("select pg_terminate_backend(%s)", lost[0])
        given.queue(attempt, user)
        assert await follower.take(1) == ["queued"]
        await until_listening(given, 1)
        assert listening(given) != lost
        given.enroll(attempt)
        assert await follower.take(2) == ["claimed", "enrolled"]


async def test_a_restarted_postgres_loses_no_event(own_cluster: Cluster, tmp_path: Path) -> None:
    dsn = own_cluster.dsn
    database = Database(own_cluster, "postgres", dsn(), dsn("postgres"), dsn("voice_clone_service"))
    with closing(Fixture(database)) as before:
        user = before.user()
        attempt = before.open(user, None)
    async with serving(tmp_path, database.service) as service, service.follow(attempt, user) as follower:
        assert await follower.take(1) == ["opened"]
        for step in ("queued", "claimed"):
            own_cluster.stop(immediately=True)
            own_cluster.start(port=own_cluster.port)
            with closing(Fixture(database)) as after:
                after.queue(attempt, user) if step == "queued" else after.claim(attempt)
            assert await follower.take(1) == [step]


async def test_a_slow_reader_is_sent_away_and_loses_nothing(service: Service, given: Fixture) -> None:
    """Its events fill the kernel's buffers; another listener is not delayed."""
    user, other = given.user(), given.user()
    attempt, another = given.open(user, None), given.open(other, None)
    async with service.follow(attempt, user) as slow, service.follow(another, other) as quick:
        assert await quick.take(1) == ["opened"]
        record_large_events(given, attempt, LARGE_EVENTS)
        await service.child.await_output("stream_too_slow")
        given.queue(another, other)
        assert await quick.take(1) == ["queued"]
        versions = [event["version"] async for event in slow]
    assert 1 < len(versions) <= LARGE_EVENTS, "the stream ended before its time"
    follower = slow
    while len(versions) <= LARGE_EVENTS:
        async with service.follow(attempt, user, after=follower.last_id) as follower:
            versions += [event["version"] async for event in follower.most(1 + LARGE_EVENTS - len(versions))]
    assert versions == list(range(1, LARGE_EVENTS + 2))


async def test_a_client_that_takes_nothing_is_cut_off(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    attempt = given.open(user, None)
    async with (
        serving(tmp_path, given.database.service, STREAM_HEARTBEAT_SECONDS="0.5") as service,
        service.follow(attempt, user),
    ):
        record_large_events(given, attempt, LARGE_EVENTS)
        await service.child.await_output("stream_stalled")
        await until_listening(given, 0)


async def test_a_stream_ends_when_nothing_more_can_come(service: Service, given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    attempt = given.open(user, None, consent)
    async with service.follow(attempt, user) as follower:
        given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
        assert await follower.take(3) == ["opened", "cancelled", "end"]
    again = await service.ask(attempt, headers(user, follower.last_id))
    assert (again.status_code, again.content) == (204, b""), "a client that gets this stops asking"
    async with service.follow(attempt, user) as again:
        assert await again.take(3) == ["opened", "cancelled", "end"]


async def test_a_superseded_voice_is_followed_until_it_is_restored(service: Service, given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    newer = given.queued(user, reflection)
    last = given.truth("select max(id) from voice_clone.events where attempt_id = %s", attempt)["max"]
    async with service.follow(attempt, user, after=last) as follower:
        epoch = given.claim(newer)["lease_epoch"]
        given.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", newer, epoch)
        given.one("select * from voice_clone.restore_attempt(%s, %s)", reflection, user)
        assert await follower.take(1) == ["restored"]


async def test_a_stream_ends_with_its_token(service: Service, given: Fixture) -> None:
    user = given.user()
    async with service.follow(given.open(user, None), user, token_seconds=1) as follower:
        assert await follower.take(2) == ["opened", "end"]


async def test_a_person_cannot_open_streams_without_end(service: Service, given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    async with AsyncExitStack() as streams:
        for _ in range(100):
            await streams.enter_async_context(service.follow(attempt, user))
        refused = await service.ask(attempt, headers(user))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_event_streams")
        assert int(refused.headers["retry-after"]) >= 1
    await until_listening(given, 0)
    async with service.follow(attempt, user) as follower:
        assert await follower.take(1) == ["opened"]


async def test_an_idle_stream_is_kept_alive_by_comments(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    attempt = given.open(user, None)
    async with (
        serving(tmp_path, given.database.service, STREAM_HEARTBEAT_SECONDS="0.05") as service,
        service.follow(attempt, user) as follower,
    ):
        assert await follower.take(1) == ["opened"]
        await follower.heartbeat()
        await follower.heartbeat()
        given.queue(attempt, user)
        assert await follower.take(1) == ["queued"]


async def test_a_stopping_service_ends_its_streams(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    attempt = given.open(user, None)
    async with (
        serving(tmp_path, given.database.service) as service,
        service.follow(attempt, user) as follower,
    ):
        assert await follower.take(1) == ["opened"]
        service.child.process.terminate()
        assert await follower.next() is None
        async with asyncio.timeout(DRAIN_SECONDS):  # after that its worker would be killed
            assert await service.child.process.wait() == 0
    given.queue(attempt, user)
    async with (
        serving(tmp_path, given.database.service) as another,
        another.follow(attempt, user, after=follower.last_id) as resumed,
    ):
        assert await resumed.take(1) == ["queued"]
