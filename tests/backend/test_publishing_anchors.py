"""Anchors in Storage, in a file and at a webhook, and what a published copy proves."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec import Struct

from backend.domains.anchors.anchors import anchor_path, read_anchor
from backend.domains.anchors.publishing import publish_anchor
from backend.provenance.certificates import make_development_key_pair
from backend.queues.outcomes import Done
from backend.storage.buckets import ANCHOR_BUCKET
from backend.storage.client import StorageProfiles
from tests.backend.receiver import Receiver, answer, receiver
from tests.backend.storages import JWT_SECRET, SECRET_KEY, EmbeddedStorage, embedded_storage
from tests.backend.workers import Workers, workers
from tests.database.test_consent_anchors import REWRITTEN, anchor, publication, two_anchors
from tests.fixture import Fixture
from tests.preloaded import command
from tests.simulators import Simulator

SECRET = "whsec_" + "c2VjcmV0" * 6


class Published(Struct):
    """Workers that publish to a bucket, a file and a webhook, with the key of a certificate."""

    given: Fixture
    worker: Workers
    storage: EmbeddedStorage
    hook: Receiver
    file: Path
    certificate: Path

    async def publish(self, position: int) -> Any:
        row = publication(self.given, position)
        id_: UUID = row["id"]
        return await publish_anchor(self.worker.context, id_)

    async def objects(self) -> list[bytes | None]:
        bucket = StorageProfiles(self.worker.context.storage, ANCHOR_BUCKET)
        return [await bucket.get(name) for name in sorted(await bucket.list())]

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        env = os.environ | {
            "DATABASE_URL": self.given.database.service,
            "SUPABASE_URL": self.storage.url,
            "SUPABASE_SECRET_KEY": SECRET_KEY,
            "SUPABASE_JWT_SECRET": JWT_SECRET,
            "SUPABASE_JWKS_URL": "off",
        }
        done = command("consents", "verify", "--json", *arguments, env=env)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def problems(self, *arguments: str) -> list[tuple[int | None, str]]:
        code, report = self.verify(*arguments)
        found = [(each["position"], each["problem"]) for each in report["anchors"]["problems"]]
        assert code == (1 if found or report["broken"] else 0)
        return found

    def rewrite(self) -> None:
        """As the owner of the database could, who knows each hash."""
        with self.given.superuser.transaction():
            self.given.superuser.execute("set local session_replication_role = replica")
            for statement in REWRITTEN:
                self.given.superuser.execute(statement)


@pytest.fixture
async def published(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Published]:
    pair = make_development_key_pair()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(pair.chain)
    key.write_text(pair.key)
    file = tmp_path / "anchors"
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        receiver() as hook,
    ):
        hook.secret = SECRET
        settings = {
            "C2PA_CERTIFICATE_FILE": str(certificate),
            "C2PA_KEY_FILE": str(key),
            "CONSENT_ANCHOR_FILE": str(file),
            "CONSENT_ANCHOR_WEBHOOK_URL": hook.url,
            "CONSENT_ANCHOR_WEBHOOK_SECRET": SECRET,
            "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        }
        async with workers(given, providers, storage.url, **settings) as worker:
            yield Published(given, worker, storage, hook, file, certificate)


async def test_an_anchor_is_published_in_each_place_once(published: Published) -> None:
    two_anchors(published.given)
    for _ in range(2):
        for position in (1, 2):
            assert await published.publish(position) in (Done("published"), Done("nothing_to_do"))
    copies = published.file.read_text().splitlines()
    assert [read_anchor(copy).anchor.position for copy in copies] == [1, 2]
    assert [(found or b"").decode() for found in await published.objects()] == copies
    assert [each["signed"] for each in published.hook.received] == copies
    assert publication(published.given, 2)["places"] == ["bucket", "file", "webhook"]
    code, report = published.verify("--anchors", str(published.file), "--trust", str(published.certificate))
    found = report["anchors"]
    assert (code, found["anchors"], found["compared"], found["is_signer_known"]) == (0, 2, 2, True)


async def test_a_place_that_is_down_is_tried_again_and_no_other(published: Published) -> None:
    published.given.consent(published.given.user())
    anchor(published.given)
    published.hook.answer = lambda _: answer(503)
    await published.publish(1)
    row = publication(published.given)
    assert (row["places"], row["error_code"]) == (["bucket", "file"], "webhook_refused")
    assert (row["published_at"], row["sweep_at"] is not None) == (None, True)
    published.hook.answer = lambda _: answer(204)
    await published.publish(1)
    row = publication(published.given)
    assert (row["places"], row["error_code"]) == (["bucket", "file", "webhook"], None)
    assert len(published.file.read_text().splitlines()) == 1


async def test_an_object_that_says_something_else_is_not_replaced(published: Published) -> None:
    published.given.consent(published.given.user())
    anchor(published.given)
    storage = published.worker.context.storage
    await storage.upload(ANCHOR_BUCKET, anchor_path(1), b"something else", "application/jose")
    await published.publish(1)
    assert publication(published.given)["error_code"] == "anchor_differs"
    assert await published.objects() == [b"something else"]


async def test_a_rewrite_by_the_owner_of_the_database_is_found_by_a_published_copy(
    published: Published,
) -> None:
    two_anchors(published.given)
    for position in (1, 2):
        await published.publish(position)
    assert published.problems("--anchors", str(published.file)) == []
    published.rewrite()
    with published.given.superuser.transaction():  # and the signatures are taken out
        published.given.superuser.execute("set local session_replication_role = replica")
        published.given.superuser.execute(
            "update voice_clone.anchor_publications set signed = null, published_at = null, sweep_at = now()"
        )
    assert published.problems() == [], "no hash finds it"
    found = [(1, "it is not what was published"), (2, "it is not what was published")]
    assert published.problems("--anchors", str(published.file)) == found
    assert published.problems("--anchors", "bucket") == found


async def test_a_signature_of_another_key_and_a_line_that_is_none_are_named(
    published: Published, tmp_path: Path
) -> None:
    published.given.consent(published.given.user())
    anchor(published.given)
    await published.publish(1)
    other = tmp_path / "other.pem"
    other.write_text(make_development_key_pair().chain)
    ((position, problem),) = published.problems("--trust", str(other))
    assert (position, problem) == (1, "it was signed by another key than that of a given certificate")
    signed = published.file.read_text()
    published.file.write_text(f"{signed}no anchor\n")
    ((position, problem),) = published.problems("--anchors", str(published.file))
    assert (position, problem.startswith("its signature proves nothing")) == (None, True)
    header, payload, signature = signed.strip().split(".")
    published.file.write_text(".".join([header, payload, signature[::-1]]))
    assert len(published.problems("--anchors", str(published.file))) == 1


def test_an_anchor_is_opened_at_once_where_an_operator_asks(given: Fixture) -> None:
    given.consent(given.user())
    env = os.environ | {"DATABASE_URL": given.database.postgres}
    opened = command("consents", "anchor", "--json", env=env)
    assert msgspec.json.decode(opened.stdout) == {"opened": [1]}, opened.stderr
    assert "Every consent has an anchor" in command("consents", "anchor", env=env).stdout
