"""`likeness reconcile voices`: what differs between a provider's list and our rows, repaired, and gone."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from backend.providers.base import EnrollRequest, new_label
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.qwen.adapter import Qwen
from backend.web.http_client import HttpClient
from scripts.migrations import ROOT
from tests.backend.storages import failing_storage, saying
from tests.fixture import Fixture
from tests.preloaded import command
from tests.simulators import ELEVENLABS_KEY, QWEN_KEY, BytesSample, Simulator, simulator, spoken_sample

REGION = "singapore"
LOST = "select array_agg(attempt_id::text) as attempts from public.voices where lost_at is not null"


@pytest.fixture(scope="module")
def all_providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest.fixture
def providers(all_providers: Simulator) -> Simulator:
    all_providers.reset()
    return all_providers


def environment(given: Fixture, providers: Simulator, storage: str) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": given.database.service,
        "COLUMNS": "240",
        "SUPABASE_URL": storage,
        "SUPABASE_SECRET_KEY": "sb_secret_of_this_very_test",
        "QWEN_API_KEY": QWEN_KEY,
        "QWEN_REGION": REGION,
        "QWEN_BASE_URL": f"{providers.url}/qwen/{REGION}",
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs",
    }


async def run(given: Fixture, providers: Simulator, *arguments: str) -> tuple[int | None, str, str]:
    async with failing_storage(saying(200, b"[]")) as storage:
        env = environment(given, providers, storage)
        done = await asyncio.to_thread(command, "reconcile", "voices", *arguments, env=env)
    return done.returncode, done.stdout, done.stderr


async def found(given: Fixture, providers: Simulator, *arguments: str) -> tuple[dict[str, str], Any]:
    """The findings by the provider's id of the voice, or that of the enrollment; and the last line."""
    code, output, errors = await run(given, providers, "--json", *arguments)
    assert output, errors
    *findings, end = (json.loads(line) for line in output.splitlines())
    ours = [each for each in findings if each["finding"] not in ("foreign", "elsewhere")]
    assert code == (2 if end["faults"] else 1 if ours else 0), errors
    kinds = {
        str(each["enrollment_id"] if each["finding"] == "unsettled" else each.get("provider_voice_id")): each[
            "finding"
        ]
        for each in findings
    }
    return kinds, end


async def make_voice(providers: Simulator, label: str, provider: str = "qwen") -> str:
    async with HttpClient() as http:
        sample = BytesSample(spoken_sample(5.5))
        request = EnrollRequest(label=label, name="Ada", language="en", transcript=None, sample=sample)
        if provider == "qwen":
            return (
                await Qwen(providers.qwen(REGION, send_sample_as="data_url"), http).enroll(request)
            ).provider_voice_id
        return (await ElevenLabs(providers.elevenlabs(), http).enroll(request)).provider_voice_id


def make_old(given: Fixture) -> None:
    """As if each voice and enrollment had been made two hours ago."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute("update public.voices set created_at = created_at - interval '2 hours'")
        given.superuser.execute(
            "update public.voice_clone_attempts set ready_at = ready_at - interval '2 hours'"
        )
        given.superuser.execute(
            "update voice_clone.enrollments set settles_at = settles_at - interval '2 hours',"
            " updated_at = updated_at - interval '2 hours'"
        )


class Enrollment:
    """An attempt at a simulated provider, its enrollment intended."""

    def __init__(self, given: Fixture, provider: str = "qwen", region: str = REGION) -> None:
        self.given = given
        self.user = given.user()
        self.consent = given.consent(self.user)
        self.attempt = given.open(self.user, None, self.consent)
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = %s, region = %s where id = %s",
            (provider, region, self.attempt),
        )
        given.queue(self.attempt, self.user)
        self.epoch = given.claim(self.attempt)["lease_epoch"]
        self.label = new_label()
        self.id: UUID = given.one(
            "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60) as id",
            self.attempt, self.epoch, self.label,
        )["id"]  # fmt: skip

    def attach(self, voice: str) -> None:
        self.given.one(
            "select * from voice_clone.attach_voice(%s, %s, %s, %s, 'model-1', 'request-1',"
            " null, null, false)",
            self.attempt, self.epoch, self.id, voice,
        )  # fmt: skip

    def orphan(self, voice: str) -> None:
        self.given.one("select * from voice_clone.revoke_consent(%s, %s)", self.consent, self.user)
        self.given.one(
            "select voice_clone.report_enrollment(%s, %s, 'm', false, 'r', null) as status", self.id, voice
        )

    def close(self) -> None:
        self.given.one(
            "select voice_clone.resolve_enrollment(%s, %s, 'closed', 'never_made', null, 0)",
            self.id,
            self.epoch,
        )

    def abandon(self) -> None:
        """Its worker died: the lease is over."""
        with self.given.superuser.transaction():
            self.given.superuser.execute("set local session_replication_role = replica")
            self.given.superuser.execute(
                "update voice_clone.deadlines set lease_expires_at = now() - interval '1 minute'"
                " where attempt_id = %s",
                (self.attempt,),
            )

    @property
    def row(self) -> Any:
        return self.given.truth("select * from voice_clone.enrollments where id = %s", self.id)


async def test_what_the_list_has_and_no_row_owns_is_accounted_for(
    given: Fixture, providers: Simulator
) -> None:
    owned, closed, running, abandoned = (Enrollment(given) for _ in range(4))
    owned.attach(await make_voice(providers, owned.label))
    closed.close()
    late = await make_voice(providers, closed.label)
    await make_voice(providers, running.label)  # its worker does not know its id yet
    unknown = await make_voice(providers, abandoned.label)
    abandoned.abandon()
    foreign = await make_voice(providers, new_label())
    twin = await make_voice(providers, owned.label)
    make_old(given)
    wrong = {late: "late", unknown: "unknown", foreign: "foreign", twin: "duplicate"}
    assert (await found(given, providers))[0] == wrong
    assert closed.row["status"] == "closed", "nothing was changed"
    assert (await found(given, providers, "--apply"))[0] == wrong
    assert (closed.row["status"], closed.row["provider_voice_id"]) == ("orphaned", late)
    assert (abandoned.row["status"], abandoned.row["provider_voice_id"]) == ("intended", unknown), "adopted"
    orphans = given.superuser.execute(
        "select provider_voice_id as id from voice_clone.orphans() where status = 'orphaned'"
    ).fetchall()
    assert {each["id"] for each in orphans} == {late, twin}
    assert owned.row["status"] == "attached", "the voice that is used is the first one"
    assert (await found(given, providers))[0] == {foreign: "foreign"}, "which is another's, and stays"
    assert len(providers.voices("qwen")) == 6, "nothing was removed here"


async def test_a_voice_that_its_provider_does_not_have_leaves_the_gate(
    given: Fixture, providers: Simulator
) -> None:
    gone, deleted, kept, new = (Enrollment(given) for _ in range(4))
    gone.attach("qwen-tts-vc-gone-voice-1")
    deleted.attach("qwen-tts-vc-gone-voice-2")
    given.one(
        "select voice_clone.delete_voice(%s, %s)", given.attempt(deleted.attempt)["voice_id"], deleted.user
    )
    kept.attach(await make_voice(providers, kept.label))
    make_old(given)
    new.attach("qwen-tts-vc-gone-voice-3")  # the list may be late
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voices set created_at = now() where attempt_id = %s", (new.attempt,)
        )
    assert (await found(given, providers))[0] == {"qwen-tts-vc-gone-voice-1": "gone"}
    assert given.truth(LOST)["attempts"] is None
    await found(given, providers, "--apply")
    assert given.truth(LOST)["attempts"] == [str(gone.attempt)]
    assert (await found(given, providers))[0] == {}


async def test_a_provider_with_a_call_for_it_is_asked_for_each_voice_that_its_list_leaves_out(
    given: Fixture, providers: Simulator
) -> None:
    """ElevenLabs: a voice that is hidden in its list is there; one that is gone is not."""
    hidden, gone = (Enrollment(given, "elevenlabs", "") for _ in range(2))
    providers.fault("elevenlabs", "create", "list_lag", seconds=3600)
    hidden.attach(await make_voice(providers, hidden.label, "elevenlabs"))
    gone.attach("gonegonegonegonegone")
    make_old(given)
    assert (await found(given, providers, "--provider", "elevenlabs"))[0] == {"gonegonegonegonegone": "gone"}
    assert len(providers.calls("elevenlabs", "get")) == 2


async def test_where_all_voices_seem_to_be_gone_none_is_closed(given: Fixture, providers: Simulator) -> None:
    for number in range(3):
        Enrollment(given).attach(f"qwen-tts-vc-gone-voice-{number}")
    make_old(given)
    kinds, end = await found(given, providers, "--apply")
    assert [*kinds.values()] == ["gone"] * 3
    assert "this account's key" in end["faults"]["qwen"]
    assert given.truth(LOST)["attempts"] is None


async def test_a_voice_that_was_lost_by_mistake_is_an_orphan_again(
    given: Fixture, providers: Simulator
) -> None:
    lost = Enrollment(given)
    voice = await make_voice(providers, lost.label)
    lost.attach(voice)
    given.one("select voice_clone.lose_voice('qwen', %s, '{}', %s) as lost", REGION, voice)
    make_old(given)
    assert (await found(given, providers, "--apply"))[0] == {voice: "returned"}
    assert lost.row["status"] == "orphaned"
    assert (await found(given, providers))[0] == {}


async def test_what_nobody_ended_is_sent_to_the_cleanup(given: Fixture, providers: Simulator) -> None:
    """Their messages were lost, and the sweep does not run."""
    unsettled, overdue = (Enrollment(given) for _ in range(2))
    given.one("select * from voice_clone.revoke_consent(%s, %s)", unsettled.consent, unsettled.user)
    overdue.orphan(await make_voice(providers, overdue.label))
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update voice_clone.enrollments set removal_due_at = now() - interval '1 hour' where id = %s",
            (overdue.id,),
        )
    make_old(given)
    given.superuser.execute("select pgmq.purge_queue('voice_cleanup')")
    wrong = {str(unsettled.id): "unsettled", overdue.row["provider_voice_id"]: "overdue"}
    assert (await found(given, providers))[0] == wrong
    assert given.messages("voice_cleanup") == []
    await found(given, providers, "--apply")
    sent = {each["message"]["id"] for each in given.messages("voice_cleanup")}
    assert sent == {str(unsettled.id), str(overdue.id)}


async def test_a_busy_provider_is_waited_for_as_long_as_it_says(given: Fixture, providers: Simulator) -> None:
    providers.fault("qwen", "list", "throttled", retry_after=1)
    code, _, errors = await run(given, providers, "--provider", "qwen")
    assert (code, "qwen: waits for 1" in errors) == (0, True)
    providers.fault("qwen", "list", "throttled", retry_after=3600)
    code, _, errors = await run(given, providers, "--provider", "qwen")
    assert (code, "provider_throttled" in errors, "waits" in errors) == (2, True, False)


async def test_a_provider_that_cannot_be_read_keeps_no_other_from_it(
    given: Fixture, providers: Simulator
) -> None:
    providers.fault("elevenlabs", "list", "wrong_key", times=None)
    closed = Enrollment(given)
    closed.close()
    late = await make_voice(providers, closed.label)
    make_old(given)
    kinds, end = await found(given, providers)
    assert (kinds, [*end["faults"]]) == ({late: "late"}, ["elevenlabs"])


async def test_what_lies_where_these_settings_do_not_look_is_named(
    given: Fixture, providers: Simulator
) -> None:
    in_region, here = Enrollment(given), Enrollment(given)
    here.attach(await make_voice(providers, here.label))
    given.superuser.execute(
        "update voice_clone.enrollments set region = 'beijing' where id = %s", (in_region.id,)
    )
    code, output, _ = await run(given, providers, "--json")
    named, end = (json.loads(line) for line in output.splitlines())
    assert (code, named["finding"], named["region"]) == (0, "elsewhere", "beijing")
    assert (named["reason"], end["findings"]) == ("provider_region_changed", {"elsewhere": 1})


async def test_a_run_that_was_killed_goes_on_at_its_page(given: Fixture, providers: Simulator) -> None:
    """The second command is held at a page of the list, and killed."""
    for _ in range(3):
        await make_voice(providers, new_label(), "elevenlabs")
    begun = given.one(
        "select operations.begin_reconciliation('elevenlabs', '', %s) as run",
        list(providers.elevenlabs().accounts),
    )["run"]
    given.one(
        "select operations.add_listed_voices(%s, 'list', null, '{seen-before}', '{null}', '{null}',"
        " '{false}', '2') as phase",
        begun["id"],
    )
    code, output, errors = await run(given, providers, "--provider", "elevenlabs", "--json")
    *findings, _ = (json.loads(line) for line in output.splitlines())
    assert (code, "goes on after 1 voices" in errors) == (0, True)
    assert len(findings) == 2, "the voice of the first page, and the one after place 2: nothing is read twice"
    assert given.truth("select count(*) from voice_clone.reconciliations")["count"] == 0


async def test_a_run_that_is_interrupted_says_so_and_the_next_one_finds_the_rest(
    given: Fixture, providers: Simulator
) -> None:
    for _ in range(3):
        await make_voice(providers, new_label(), "elevenlabs")
    providers.fault("elevenlabs", "list", "hang")
    async with failing_storage(saying(200, b"[]")) as storage:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts", "reconcile", "voices", "--provider", "elevenlabs", "--json"),
            cwd=ROOT,
            env=environment(given, providers, storage),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await asyncio.to_thread(providers.wait, "elevenlabs", "list", timeout=30)
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    providers.release()
    assert (process.returncode, b"Run the command again" in errors) == (130, True), errors
    _, end = await found(given, providers, "--provider", "elevenlabs")
    assert end["findings"] == {"foreign": 3}


async def test_two_commands_at_a_time_do_not_mix_their_pages(given: Fixture) -> None:
    begun = given.one("select operations.begin_reconciliation('qwen', 'r', '{a}') as run")["run"]
    add = "select operations.add_listed_voices(%s, 'list', %s, '{}', '{}', '{}', '{}', %s) as phase"
    assert given.one(add, begun["id"], None, "2")["phase"] == "list"
    with pytest.raises(Exception, match="another command"):
        given.one(add, begun["id"], None, "2")
    again = given.one("select operations.begin_reconciliation('qwen', 'r', '{b}') as run")["run"]
    assert (again["id"] != begun["id"], again["cursor"]) == (True, None), "another key, another list"


async def test_wrong_usage_is_named(given: Fixture, providers: Simulator) -> None:
    code, _, errors = await run(given, providers, "--provider", "acme")
    assert (code, "--provider" in errors) == (2, True)
    code, _, errors = await run(given, providers, "--provider", "cartesia")
    assert (code, "cartesia is not set up here" in errors) == (2, True)
