"""Each runbook on a running project: the fault is there, its commands are run, the fault is gone."""

import json
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.web.http_client import HttpClient
from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_cleanup import abandoned_create
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable
from tests.end_to_end.test_voice_moves import speak
from tests.runbooks.runbook import Runbook

AGED = "update public.voice_clone_attempts set updated_at = now() - interval '2 minutes' where id = %s"
PATIENT = {"LEASE_SECONDS": "30", "FINALIZE_WAIT_SECONDS": "30"}


@asynccontextmanager
async def voice_of(
    product: Product, prepared: bytes, provider: str
) -> AsyncIterator[tuple[Person, dict[str, Any]]]:
    """A user whose reflection has a voice of this provider, which was not heard yet."""
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider=provider)
        done = await ada.finalize(upload)
        assert done.status_code == 201, done.text
        yield ada, upload


def past_the_guard(product: Product, statement: str, *parameters: Any) -> None:
    with product.connect() as superuser, superuser.transaction():
        superuser.execute("set local session_replication_role = replica")
        superuser.execute(statement.encode(), parameters)


def make_older(product: Product, attempt_id: str) -> None:
    """A new voice is not missed: a provider's list may be late."""
    ready = "update public.voice_clone_attempts set ready_at = ready_at - interval '2 hours' where id = %s"
    made = "update public.voices set created_at = created_at - interval '2 hours' where attempt_id = %s"
    for statement in (ready, made):
        past_the_guard(product, statement, attempt_id)


async def remove_at_provider(product: Product, voice: str) -> None:
    async with HttpClient() as http:
        await ElevenLabs(product.providers.elevenlabs(), http).delete(voice)


async def until_removed(product: Product, attempt_id: str) -> None:
    await product.until(
        "select from voice_clone.enrollments where attempt_id = %s and status = 'removed'", attempt_id
    )


async def clone_launchable(owner: Person, prepared: bytes) -> None:
    cloned = await clone_file(owner, prepared, provider="cartesia")
    assert cloned.status_code == 202, cloned.text
    await launchable(owner, cloned.json()["attempt_id"])


async def test_diagnose_a_stuck_attempt(product: Product, prepared: bytes) -> None:
    book = Runbook("diagnose-a-stuck-attempt", product)
    await product.start("service", **PATIENT)
    async with voice_of(product, prepared, "local") as (ada, made):
        book.values["96cb532a-1555-45fb-a1dc-356825c9a7d9"] = made["attempt_id"]
        book.values["<reflection_id>"] = ada.reflection
        past_the_guard(product, AGED, made["attempt_id"])
        await book.follow("1.")
        await book.follow("2.")
        mirrored = product.row("select voice from public.reflections where id = %s", ada.reflection)["voice"]
        assert mirrored["attemptId"] == made["attempt_id"]
        await product.start("consumers")
        await launchable(ada, made["attempt_id"])
    async with person(product) as bo:
        product.providers.fault("elevenlabs", "create", "verification_required", polls=1000)
        waiting = (await clone_file(bo, prepared, provider="elevenlabs")).json()["attempt_id"]
        await product.until(
            "select from public.voice_clone_attempts where id = %s and status = 'verifying'", waiting
        )
        book.values["<attempt_id>"] = waiting
        (voice,) = product.providers.voices("elevenlabs")
        product.providers.verify(voice["voice_id"])
        (verified,) = await book.follow("3.")
        assert json.loads(verified)["status"] == "ready"
        await launchable(bo, waiting)
    book.assert_followed()


async def test_redrive_dead_letters(product: Product, prepared: bytes) -> None:
    book = Runbook("redrive-dead-letters", product)
    await product.start("service", **PATIENT)
    async with voice_of(product, prepared, "local") as (ada, made):
        sent = product.row(
            "select array_agg(msg_id) as ids, array_agg(message) as bodies from pgmq.q_voice_preview"
            " where message ->> 'id' = %s",
            made["attempt_id"],
        )
        with psycopg.connect(product.stack.database_url, autocommit=True) as consumer:
            consumer.execute(
                "select voice_clone.dead_letter_messages('voice_preview', %s, %s, %s, %s)",
                (sent["ids"], [Jsonb(each) for each in sent["bodies"]], [5], ["budget_used"]),
            )
        with product.connect() as superuser:
            superuser.execute("""select pgmq.send('voice_preview', '{"hello": "world"}')""")
        await product.start("consumers")
        malformed = await product.until(
            "select id from voice_clone.dead_letters where left(reason, 9) = 'malformed'"
        )
        book.values["17"] = str(malformed["id"])
        await book.follow("1.")
        letters = product.row("select array_agg(id order by id) as ids from voice_clone.dead_letters")["ids"]
        book.values["│ 16 │"] = f"│ {letters[0]} │"
        await book.follow("4.")  # the order does not matter, and a letter that is malformed would come back
        await book.follow("3.")
        await launchable(ada, made["attempt_id"])
        assert len(letters) == 2
        assert product.row("select count(*) from voice_clone.dead_letters")["count"] == 0
    book.assert_followed()


async def test_delete_a_person(product: Product, prepared: bytes) -> None:
    book = Runbook("delete-a-person", product)
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with voice_of(product, prepared, "elevenlabs") as (ada, made):
        await launchable(ada, made["attempt_id"])
        user = product.row("select user_id from public.reflections where id = %s", ada.reflection)["user_id"]
        book.values["3f0c1c5e-8f5b-4a51-9d5e-0d6c2f7f6f11"] = str(user)
        await book.follow("1.")
        with zipfile.ZipFile(book.folder / "ada.zip") as exported:
            assert {"manifest.json"} < set(exported.namelist())
        await book.follow("2.", 0, 1)
        erasure = product.row("select id from voice_clone.erasures order by requested_at desc limit 1")
        book.values["5d0c4c39-0f0e-4f0e-9a3b-6d1d7e0d2c11"] = str(erasure["id"])
        await until_removed(product, made["attempt_id"])
        await book.follow("3.", 1)
        await book.follow("4.")
        await book.follow("5.")
    assert product.providers.voices("elevenlabs") == []
    book.assert_followed()


async def test_replace_a_provider_key(product: Product, prepared: bytes) -> None:
    book = Runbook("replace-a-provider-key", product)
    old = {**PATIENT, "QWEN_API_KEY": "sk-sim-old"}
    service = await product.start("service", **old)
    async with voice_of(product, prepared, "qwen") as (ada, made), voice_of(product, prepared, "qwen"):
        await product.kill(service)
        service = await product.start("service", **old, **book.settings("1."))
        async with voice_of(product, prepared, "qwen"):
            await book.follow("2.")
        fingerprint = product.row(
            "select account from voice_clone.enrollments where attempt_id = %s", made["attempt_id"]
        )["account"]
        book.values["3f9c1a7be204"] = fingerprint
        book.values["sk-…"] = "sk-sim-new"
        await product.kill(service)
        service = await product.start("service", **PATIENT, QWEN_API_KEY="sk-sim-new")
        assert problem(await speak(ada, made["voice_id"])) == (503, "provider_account_changed")
        await book.follow("If the new key is of another", settings={"QWEN_API_KEY": "sk-sim-new"})
        await product.kill(service)
        await product.start("service", **PATIENT, **book.settings("3."))
        assert (await speak(ada, made["voice_id"])).status_code == 200
    book.assert_followed()


@pytest.mark.usefixtures("short_times")
async def test_list_and_remove_orphans(product: Product, prepared: bytes) -> None:
    book = Runbook("list-and-remove-orphans", product)
    product.providers.fault("elevenlabs", "delete", "unavailable", times=1000)
    attempt = await abandoned_create(product, prepared, "elevenlabs")
    service = await product.start("service", **PATIENT)
    consumers = await product.start("consumers")
    orphan = await product.until(
        "select id from voice_clone.enrollments where attempt_id = %s and status = 'removing'", attempt
    )
    await product.kill(consumers)
    product.providers.clear_faults()
    book.values["<enrollment_id>"] = str(orphan["id"])
    await book.follow("1.")
    await book.follow("2.")
    (removed,) = await book.follow("3.")
    assert json.loads(removed)["reason"] == "removed", removed
    await product.kill(service)

    attempt = await abandoned_create(product, prepared, "elevenlabs")
    await product.start("service", **PATIENT)
    async with voice_of(product, prepared, "elevenlabs") as (_, made):
        voice = product.row("select * from public.voices where id = %s", made["voice_id"])
        await remove_at_provider(product, voice["provider_voice_id"])
        make_older(product, made["attempt_id"])
        past_the_guard(
            product,
            "update voice_clone.enrollments set status = 'closed', sweep_at = null where attempt_id = %s",
            attempt,
        )
        await book.follow("4.", 1, 1, settings={})
        await book.follow("5.", settings={})
        assert product.row("select lost_at from public.voices where id = %s", voice["id"])["lost_at"]
    status = product.row("select status from voice_clone.enrollments where attempt_id = %s", attempt)
    assert status["status"] == "orphaned"
    book.assert_followed()


async def test_make_room_at_a_provider(product: Product, prepared: bytes) -> None:
    book = Runbook("make-room-at-a-provider", product)
    await product.start("service", **PATIENT, CARTESIA_VOICE_SLOTS="2")
    await product.start("consumers")
    async with (
        voice_of(product, prepared, "cartesia") as (ada, made),
        voice_of(product, prepared, "cartesia"),
        person(product) as bo,
    ):
        deleted = await answer(ada, "DELETE", f"/api/voices/{made['voice_id']}")
        assert deleted.is_success, deleted.text
        await book.follow("1.", 1)
        past_the_guard(
            product,
            "update public.voices set deleted_at = deleted_at - interval '2 hours' where id = %s",
            made["voice_id"],
        )
        await book.follow("2.")
        await until_removed(product, made["attempt_id"])
        assert len(product.providers.voices("cartesia")) == 1
        with product.connect() as superuser:
            superuser.execute(
                "update voice_clone.timeouts set value = '30 days' where name = 'deleted_voice'"
            )
        await clone_launchable(bo, prepared)
        full = await clone_file(bo, prepared, provider="cartesia")
        assert problem(full) == (409, "provider_full")
        await product.stop()
        await product.start("service", **PATIENT, **book.settings("3."))
        await product.start("consumers")
        await clone_launchable(bo, prepared)
    book.assert_followed()


async def test_repair_the_mirrors(product: Product, prepared: bytes) -> None:
    book = Runbook("repair-the-mirrors", product)
    await product.start("service", **PATIENT)
    consumers = await product.start("consumers")
    async with voice_of(product, prepared, "local") as (ada, made):
        await launchable(ada, made["attempt_id"])
        book.values["7d0c0e4b-52c1-4d8e-8a53-5a2f6a0b7c11"] = ada.reflection
        await product.until(
            "select from public.reflections where id = %s and voice ->> 'previewStatus' = 'completed'",
            ada.reflection,
        )
        await product.kill(consumers)  # a message that is still on its way would repair it
        past_the_guard(
            product,
            """update public.reflections set voice = voice || '{"cloneStatus": "failed"}' where id = %s""",
            ada.reflection,
        )
        past_the_guard(product, AGED.replace("2 minutes", "2 hours"), made["attempt_id"])
        await book.follow("1.", 1)
        await book.follow("2.", 1)
        await product.start("consumers")
        await product.until(
            "select from public.reflections where id = %s and voice ->> 'cloneStatus' = 'ready'",
            ada.reflection,
        )
        await book.follow("3.")
    book.assert_followed()


async def test_wait_for_a_provider(product: Product, prepared: bytes) -> None:
    book = Runbook("wait-for-a-provider", product)
    product.providers.fault("cartesia", "create", "unavailable", times=1000)
    await product.start("service", **PATIENT, ENROLLMENT_SETTLE_SECONDS="10")
    await product.start("consumers")
    async with person(product) as ada:
        made = (await clone_file(ada, prepared, provider="cartesia")).json()
        await product.until(
            "select from public.voice_clone_attempts where id = %s and error_code = 'outcome_unknown'",
            made["attempt_id"],
        )
        book.values["0b9c8c62-5b0e-4a39-9a52-6b1a7d3c2f10"] = made["attempt_id"]
        await book.follow("1.")
        await book.follow("2.")
        product.providers.clear_faults()
        await book.follow("3.")
        await launchable(ada, made["attempt_id"])
    book.assert_followed()


async def test_enforce_a_revocation(product: Product, prepared: bytes) -> None:
    book = Runbook("enforce-a-revocation", product)
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with voice_of(product, prepared, "elevenlabs") as (ada, made):
        await launchable(ada, made["attempt_id"])
        user = product.row("select user_id from public.reflections where id = %s", ada.reflection)["user_id"]
        book.values["3f0c1c5e-8f5b-4a51-9d5e-0d6c2f7f6f11"] = str(user)
        await answer(ada, "DELETE", f"/v1/consents/{ada.consent}")
        await book.follow("1.")
        await until_removed(product, made["attempt_id"])
        await book.follow("2.")
        await book.follow("3.")
        assert not (await gate(ada))["launchable"]
    assert product.providers.voices("elevenlabs") == []
    book.assert_followed()


async def test_replace_a_leaked_key(product: Product, prepared: bytes) -> None:
    book = Runbook("replace-a-leaked-key", product)
    stack = product.stack
    await product.start("service", **PATIENT)
    await product.start("consumers")
    try:
        with psycopg.connect(stack.database_url, autocommit=True) as thief:
            await book.follow("1.")
            with pytest.raises(psycopg.OperationalError):
                thief.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(stack.database_url)
        await product.stop()
        password = re.search(r"password '(\w+)'", book.blocks[0].text)
        assert password is not None
        fresh = {
            "DATABASE_URL": re.sub(r":[^:@]*@", f":{password[1]}@", stack.database_url),
            **book.settings("2."),
        }
        await product.start("service", **PATIENT, **fresh)
        await product.start("consumers", **fresh)
        await book.follow("2.")
        async with voice_of(product, prepared, "local") as (ada, made):
            await launchable(ada, made["attempt_id"])
        await book.follow("5.")
    finally:
        await product.stop()
        stack.cluster.set_passwords()
    book.assert_followed()


async def test_answer_a_lost_voice(product: Product, prepared: bytes) -> None:
    book = Runbook("answer-a-lost-voice", product)
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with (
        voice_of(product, prepared, "elevenlabs") as (_, first),
        voice_of(product, prepared, "elevenlabs") as (_, second),
        voice_of(product, prepared, "elevenlabs") as (_, third),
    ):
        for made in (first, second, third):
            make_older(product, made["attempt_id"])
        voices = sorted(
            (
                product.row("select * from public.voices where id = %s", made["voice_id"])
                for made in (first, second, third)
            ),
            key=lambda voice: voice["id"],  # they are checked in this order, and only some of them are due
        )
        await remove_at_provider(product, voices[0]["provider_voice_id"])
        past_the_guard(product, "update voice_clone.timeouts set value = '1 s' where name = 'voice_check'")
        past_the_guard(
            product, "update voice_clone.timeouts set value = '1 s' where name = 'voice_check_pause'"
        )
        past_the_guard(product, "update public.voices set canary_at = now(), spoken_at = null")
        silent, _ = await book.follow("4.")
        assert voices[2]["provider_voice_id"] in silent
        assert product.row("select canary_at from public.voices where id = %s", voices[2]["id"]) == {
            "canary_at": None
        }
        await book.follow("5.")
        await product.until(
            "select from public.voices where id = %s and lost_at is not null", voices[0]["id"]
        )
        (lost,) = await book.follow("1.")
        assert voices[0]["provider_voice_id"] in lost
        for voice in voices[1:]:
            await remove_at_provider(product, voice["provider_voice_id"])
        await book.follow("2.")
        for name, value in (
            ("<provider>", "elevenlabs"), ("<region>", voices[1]["provider_region"]),
            ("<account>", voices[1]["provider_account"]),
            ("<provider_voice_id>", voices[1]["provider_voice_id"]),
        ):  # fmt: skip
            book.values[name] = value
        await book.follow("3.", 1, settings={})
        assert product.row("select lost_at from public.voices where id = %s", voices[1]["id"])["lost_at"]
    book.assert_followed()


async def test_answer_a_takedown_notice(product: Product, prepared: bytes) -> None:
    book = Runbook("answer-a-takedown-notice", product)
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with voice_of(product, prepared, "local") as (ada, made):
        await launchable(ada, made["attempt_id"])
        book.values["<voice_id>"] = made["voice_id"]
        await book.follow("1.")
        assert (await speak(ada, made["voice_id"])).status_code == 200
        await book.follow("2.")
        refused = await speak(ada, made["voice_id"])
        assert (refused.status_code, refused.json()["code"]) == (409, "voice_taken_down")
        assert (await gate(ada))["blockers"] == ["voice_taken_down"]
        shown = await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice")
        assert shown.json()["preview_url"] is None
        printed = await book.follow("3.")
        assert "taken_down" in "".join(printed)
        await book.follow("4.")
        assert (await speak(ada, made["voice_id"])).status_code == 200
    book.assert_followed()
