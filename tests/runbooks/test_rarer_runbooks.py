"""Runbooks that no fault asks for: checks, proof, the event log, and what was there before."""

import os
from pathlib import Path
from uuid import uuid4

from psycopg.types.json import Jsonb

from backend.provenance.certificates import make_development_key_pair
from scripts.local.supabase.postgres import DEFAULT_VERSION, HERE
from scripts.local.supabase.stack import running_stack
from tests.clusters import SPEED, copied_cluster, temporary_directory
from tests.end_to_end.conftest import Idle, Product, person
from tests.end_to_end.test_legacy import Sender
from tests.end_to_end.test_reflection_voice import launchable
from tests.preloaded import command
from tests.runbooks.runbook import Runbook
from tests.runbooks.test_runbooks import PATIENT, past_the_guard, until_removed, voice_of
from tests.simulators import Simulator

CLONED = "select from public.voice_clone_attempts where source = 'legacy_outbox' and status = 'ready'"
BACKDATED = "update public.voice_consents set recorded_at = recorded_at - interval '1 day' where id = %s"
UNDONE = BACKDATED.replace("- interval", "+ interval")
PUBLISHED = """
select where not exists (select from voice_clone.anchor_publications where published_at is null)
"""


async def test_check_a_deployment(product: Product) -> None:
    book = Runbook("check-a-deployment", product)
    await product.start("service")
    await product.start("consumers")
    table, _ = await book.follow("1.", settings={})
    assert "consumers" in table
    await product.stop()
    await product.until("select from voice_clone.consumers_state() s where s.alive = 0")
    table, _ = await book.follow("1.", 1, 1, settings={})
    assert "likeness work" in table, "the remedy"
    book.assert_followed()


async def test_verify_the_consents(product: Product, tmp_path: Path) -> None:
    book = Runbook("verify-the-consents", product)
    pair = make_development_key_pair()
    files = {"C2PA_CERTIFICATE_FILE": pair.chain, "C2PA_KEY_FILE": pair.key}
    settings = {name: str(tmp_path / name) for name in (*files, "CONSENT_ANCHOR_FILE")}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    book.values["/mnt/worm/consent-anchors"] = settings["CONSENT_ANCHOR_FILE"]
    await product.start("service", **settings)
    await product.start("consumers")
    async with person(product) as ada:
        await book.follow("4.")
        await product.until(PUBLISHED)
        await book.follow("1.", settings=settings)
        past_the_guard(product, BACKDATED, ada.consent)
        await book.follow("1.", 1, 1, settings=settings)
        past_the_guard(product, UNDONE, ada.consent)
    product.row("update voice_clone.timeouts set value = '1 hour' where name = 'consent_anchor' returning 1")
    book.assert_followed()


async def test_drop_old_events(product: Product) -> None:
    book = Runbook("drop-old-events", product)
    await product.start("service")
    past_the_guard(
        product,
        "create table voice_clone.events_2025_10 partition of voice_clone.events"
        " for values from ('2025-10-01') to ('2025-11-01')",
    )
    (sizes,) = await book.follow("1.")
    assert sizes.index("events_2025_10") < sizes.index("events_default")
    await book.follow("2.")
    (sizes,) = await book.follow("1.")
    assert "events_2025_10" not in sizes
    with product.connect() as superuser:
        superuser.execute((HERE / "cron.sql").read_bytes())
        await book.follow("3.")
        superuser.execute("drop schema cron cascade")
    book.assert_followed()


async def test_accept_legacy_events(product: Product, prepared: bytes) -> None:
    book = Runbook("accept-legacy-events", product)
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with person(product) as ada:
        sender = Sender(ada)
        recording = await sender.record(prepared)
        book.values |= {
            '"reflection_id": "…"': f'"reflection_id": "{ada.reflection}"',
            "<user id>/…/recording.wav": recording["path"],
        }
        await book.follow("1.")
        await product.until(CLONED)
    async with person(product) as bob:
        sender = Sender(bob)
        missing = {"path": f"{sender.owner}/missing.wav"}
        outcome = await sender.outcome("/internal/voice-clone-outbox", "4712", recording=missing)
        assert outcome == ("refused", "recording_missing")
        (refused,) = await book.follow("3.")
        assert "4712" in refused
    book.assert_followed()


async def test_import_legacy_voices(product: Product) -> None:
    book = Runbook("import-legacy-voices", product)
    await product.start("service")
    user = uuid4()
    product.row("insert into auth.users (id, email) values (%s, 'ada@example.org') returning id", user)
    voices = [
        {"cloneStatus": "ready", "provider": "qwen", "voiceId": "ada-1", "targetModel": "m"},
        {"cloneStatus": "ready", "provider": "qwen"},
    ]
    for number, voice in enumerate(voices):
        past_the_guard(
            product,
            "insert into public.reflections (id, user_id, name, voice) values (%s, %s, 'R', %s)",
            f"0000000{number}-0000-4000-8000-000000000000", user, Jsonb(voice),
        )  # fmt: skip
    await book.follow("1.")
    await book.follow("2.")
    (states,) = await book.follow("3.")
    assert "pending" in states
    book.assert_followed()


async def test_remove_likeness(
    template_directory: Path, providers: Simulator, prepared: bytes, tmp_path: Path
) -> None:
    """On a project of its own: nothing is left for others."""
    with temporary_directory() as directory:
        copied_cluster(template_directory, directory / f"postgres-{DEFAULT_VERSION}")
        async with running_stack(directory, postgres_settings=SPEED) as stack:
            product = Product(stack, providers, Idle(stack))
            await follow_the_removal(product, prepared, application(tmp_path))
            await product.stop()


def application(folder: Path) -> Path:
    """The folder of an application that has installed Likeness."""
    (folder / "supabase").mkdir()
    (folder / "supabase" / "config.toml").write_text('project_id = "my-app"\n')
    done = command("install", str(folder), env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return folder


async def follow_the_removal(product: Product, prepared: bytes, app: Path) -> None:
    book = Runbook("remove-likeness", product)
    owner = {"DATABASE_URL": product.stack.cluster.dsn("postgres")}
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with voice_of(product, prepared, "elevenlabs") as (ada, made):
        await launchable(ada, made["attempt_id"])
        user = product.attempt(made["attempt_id"])["user_id"]
    book.values |= {
        "../my-app": str(app),
        "3f0c1c5e-8f5b-4a51-9d5e-0d6c2f7f6f11": str(user),
        "--apply": "--apply --yes",
    }
    (shown,) = await book.follow("1.", 1, settings=owner)
    assert "elevenlabs" in shown
    await book.follow("2.", settings=owner)
    await book.follow("3.", settings=owner)
    await until_removed(product, made["attempt_id"])
    assert product.providers.voices("elevenlabs") == []
    await product.stop()
    await book.follow("5.", settings=owner)
    assert product.row("select to_regnamespace('voice_clone') as schema")["schema"] is None
    assert product.rows("select from storage.buckets") == []
    assert list((app / "supabase" / "migrations").iterdir()) == []
    book.assert_followed()
