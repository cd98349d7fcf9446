"""A revocation beside other work is in force when it is answered, or the answer says that it is not."""

import asyncio
from pathlib import Path
from uuid import UUID

import httpx

from tests.backend.following import Service, headers, serving
from tests.fixture import Fixture
from tests.queue_consumers.conftest import until


def voices(given: Fixture, count: int) -> tuple[UUID, UUID, list[tuple[UUID, UUID]]]:
    """A user, the consent for a number of launched voices, and each one's (reflection, voice)."""
    user = given.user()
    consent = given.consents[user] = given.consent(user)
    made = []
    for _ in range(count):
        reflection = given.reflection(user)
        attempt = given.launchable(user, reflection)
        made.append((reflection, given.attempt(attempt)["voice_id"]))
    return user, consent, made


def in_force(given: Fixture, consent: UUID) -> bool:
    return given.truth("select exists (select from public.voice_consents where revokes = %s) as is", consent)[
        "is"
    ]


def client(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60)


async def test_revocations_beside_deletions_of_the_voices_are_all_in_force(
    given: Fixture, tmp_path: Path
) -> None:
    users = [voices(given, 2) for _ in range(20)]
    async with serving(tmp_path, given.database.service) as service, client(service) as http:
        revoking = [
            http.delete(f"/v1/consents/{consent}", headers=headers(user))
            for user, consent, _ in users
            for _ in "ab"
        ]
        deleting = [
            http.delete(f"/api/voices/{voice}", headers=headers(user))
            for user, _, made in users
            for _, voice in made
        ]
        answers = await asyncio.gather(
            *(each for pair in zip(deleting, revoking, strict=True) for each in pair)
        )
        assert {answer.status_code for answer in answers[1::2]} == {200}
        assert all(in_force(given, consent) for _, consent, _ in users)


async def test_a_revocation_waits_for_a_transaction_that_holds_a_voice(
    given: Fixture, tmp_path: Path
) -> None:
    user, consent, [(reflection, _)] = voices(given, 1)
    settings = {"DATABASE_LOCK_TIMEOUT_SECONDS": "0.1"}
    async with serving(tmp_path, given.database.service, **settings) as service, client(service) as http:
        path, sent = f"/v1/consents/{consent}", headers(user)
        with given.superuser.transaction(force_rollback=True):
            given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
            revoking = asyncio.create_task(http.delete(path, headers=sent))
            await until(
                lambda: given.superuser.execute("select 1 from pg_locks where not granted").fetchone()
            )
        assert (await revoking).status_code == 200
        assert in_force(given, consent)


async def test_a_revocation_that_is_not_in_force_says_so_and_is_repeated_safely(
    given: Fixture, tmp_path: Path
) -> None:
    user, consent, [(reflection, _)] = voices(given, 1)
    async with serving(tmp_path, given.database.service) as service, client(service) as http:
        path, sent = f"/v1/consents/{consent}", headers(user)
        with given.superuser.transaction(force_rollback=True):
            given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
            late = await http.delete(path, headers=sent)
            assert (late.status_code, late.json()["code"]) == (503, "consent_not_revoked")
            assert late.headers["retry-after"]
            assert not in_force(given, consent)
        first, again = [await http.delete(path, headers=sent) for _ in "ab"]
        assert first.status_code == again.status_code == 200
        assert first.json() == again.json()
        assert in_force(given, consent)
        assert "consent_not_revoked" in service.child.output()
