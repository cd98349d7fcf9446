"""A project leaves its provider with 20 voices in use, by the runbook's own commands."""

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from msgspec import Struct

from scripts.local.supabase.processes import Child
from scripts.migrations import ROOT
from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_custom_voice import stock, use
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable
from tests.end_to_end.test_voice_moves import AWAY, move, speak, voice

RUNBOOK = ROOT / "docs" / "runbooks" / "switch-the-provider.md"
LEFT, NEW = "qwen", "modal"
USERS, REFLECTIONS = 4, 5
PATIENT = {"LEASE_SECONDS": "30", "FINALIZE_WAIT_SECONDS": "30"}


class InUse(Struct):
    """A reflection with a voice at the provider that is left."""

    owner: Person
    reflection: str
    attempt_id: str
    voice_id: str

    def speaking(self) -> Person:
        self.owner.reflection = self.reflection
        return self.owner


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)


def counts(output: str) -> list[str]:
    """What a run says below its table, which has other ids each time."""
    return [line for line in output.splitlines() if re.match(r"\w+: \d+ \(|Nothing|No voice", line)]


async def run(product: Product, command: str, **settings: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", f'likeness() {{ python -m scripts "$@"; }}\n{command}'),
        cwd=ROOT,
        env={**os.environ, **product.environment(**settings), "DATABASE_URL": "", "COLUMNS": "240"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


class Project:
    """The processes, which are started again with other settings."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.children: list[Child] = []

    async def restart(self, **settings: str) -> Child:
        while self.children:
            await self.product.kill(self.children.pop())
        self.children = [
            await self.product.start(what, **PATIENT, **settings) for what in ("service", "consumers")
        ]
        return self.children[0]


async def reflections(owner: Person) -> list[str]:
    """Hers, so many that she has `REFLECTIONS`."""
    made = await owner.client.gateway(
        "POST",
        "/rest/v1/reflections",
        json=[{"name": f"Ada {number}"} for number in range(1, REFLECTIONS)],
        headers={"prefer": "return=representation"},
    )
    return [owner.reflection, *(each["id"] for each in made.json())]


async def launched(owner: Person, prepared: bytes, foreign: str | None = None) -> list[InUse]:
    """A voice for each reflection, heard: of a file, then `foreign` if given, then of one other file."""
    made: list[InUse] = []
    sample: dict[str, Any] = {}
    for number, reflection in enumerate(await reflections(owner)):
        owner.reflection = reflection
        if number == 1 and foreign is not None:
            cloned = await use(owner, LEFT, foreign)
        elif number == 0 or not sample:
            cloned = await clone_file(owner, prepared, provider=LEFT)
        else:
            cloned = await answer(owner, "POST", f"/v1/reflections/{reflection}/voice/clone", json=sample)
        assert cloned.status_code == 202, cloned.text
        if number > 0 and cloned.json()["sample_id"] is not None:
            sample = {"sample_id": cloned.json()["sample_id"], "name": "Ada", "provider": LEFT}
        made.append(InUse(owner, reflection, cloned.json()["attempt_id"], cloned.json()["voice_id"]))
    for each in made:
        await launchable(each.speaking(), each.attempt_id)
    return made


def forget_other_voices(product: Product) -> None:
    """Those that other tests left in the same database."""
    product.row(
        "with forgotten as ("
        " update public.voices set deleted_at = now() where deleted_at is null returning id"
        ") select count(*) from forgotten"
    )


async def test_a_project_leaves_its_provider_with_20_voices_in_use(product: Product, prepared: bytes) -> None:
    project = Project(product)
    forget_other_voices(product)
    await project.restart(VOICE_PROVIDER=LEFT)
    async with AsyncExitStack() as owners:
        people = [await owners.enter_async_context(person(product)) for _ in range(USERS)]
        foreign = await stock(product, LEFT, prepared)
        in_use = await launched(people[0], prepared, foreign)
        in_use += [each for owner in people[1:] for each in await launched(owner, prepared)]
        unsampled, made_elsewhere, *movable = in_use
        remove_sample(product, unsampled)
        list_them, move_them, where_they_stand, leave, again = blocks("sh")
        listed, moved, standing, left = (counts(text) for text in blocks("text"))

        await project.restart(VOICE_PROVIDER=NEW)
        upload = await people[1].upload(prepared, reflection_id=None)
        assert (await people[1].finalize(upload)).status_code == 201
        assert product.attempt(upload["attempt_id"])["provider"] == NEW
        assert await said(product, list_them) == (0, listed)
        assert await said(product, move_them) == (1, moved), "two have no sample"
        await until_made(product, movable)
        for each in in_use:
            assert (await gate(each.speaking()))["launchable"], "what works keeps working"
        assert await said(product, where_they_stand) == (1, standing)

        changed = movable[:: REFLECTIONS - 1]
        for each in changed:
            taken = await move(each.speaking(), each.voice_id, NEW, switch_now=True)
            assert taken.status_code == 202, taken.text
            await launchable(each.speaking(), taken.json()["attempt_id"])

        service = await project.restart(VOICE_PROVIDER=NEW, **AWAY)
        assert leave.strip(), "the settings that are removed"
        assert misplaced(service) == [(LEFT, "provider_not_configured", len(in_use))]
        assert (await answer(people[0], "GET", "/health/ready")).json()["status"] == "ok"
        silent = await speak(in_use[0].owner, in_use[0].voice_id)
        assert problem(silent) == (503, "provider_not_configured")
        assert "move" in silent.json()["help"]
        assert await said(product, again, **AWAY) == (1, left)
        await ends_where_it_should(product, movable, changed, [made_elsewhere, unsampled])


async def said(product: Product, command: str, **settings: str) -> tuple[int | None, list[str]]:
    code, output = await run(product, command, VOICE_PROVIDER=NEW, **settings)
    return code, counts(output)


def remove_sample(product: Product, voice: InUse) -> None:
    """It is no other voice's."""
    product.row(
        "update public.voice_samples s set status = 'removed', removed_at = now()"
        " from public.voice_clone_attempts a where a.sample_id = s.id and a.id = %s returning s.id",
        voice.attempt_id,
    )


async def until_made(product: Product, voices: Sequence[InUse]) -> None:
    await product.until(
        "select count(*) from public.voices v join public.voices m on m.id = v.moved_to"
        " where v.id = any(%s::uuid[]) having count(*) = %s",
        [each.voice_id for each in voices], len(voices), seconds=120,
    )  # fmt: skip


def misplaced(service: Child) -> list[tuple[str, str, int]]:
    lines = [
        msgspec.json.decode(line) for line in service.output().splitlines() if '"voices_misplaced"' in line
    ]
    return [(line["provider"], line["reason"], line["voices"]) for line in lines]


async def ends_where_it_should(
    product: Product, movable: Sequence[InUse], changed: Sequence[InUse], kept: Sequence[InUse]
) -> None:
    """Each voice is at the new provider, or says why not; each reflection speaks once it was heard."""
    for each in movable:
        speaking = each.speaking()
        shown = await voice(speaking, each.voice_id)
        assert (shown["name"], shown["move"]["status"], shown["move"]["provider"]) == ("Ada", "ready", NEW)
        attempt = product.row(
            "select * from public.voice_clone_attempts where reflection_id = %s and is_active",
            each.reflection,
        )
        assert attempt["provider"] == NEW
        if each not in changed:
            assert not (await gate(speaking))["launchable"], "it was not heard"
            refused = await answer(speaking, "POST", f"/v1/reflections/{each.reflection}/sessions")
            assert problem(refused) == (409, "launch_blocked")
            await launchable(speaking, str(attempt["id"]))
        assert (await gate(speaking))["launchable"]
        assert (await speak(speaking, shown["moved_to"])).status_code == 200
    for each, code in zip(kept, ("voice_without_sample", "sample_missing"), strict=True):
        assert problem(await move(each.speaking(), each.voice_id, NEW)) == (409, code)
    unheard = product.row(
        "select count(*) from public.voice_sessions s"
        " join public.voice_clone_attempts a on a.id = s.attempt_id where a.preview_status <> 'completed'"
    )
    assert unheard["count"] == 0
