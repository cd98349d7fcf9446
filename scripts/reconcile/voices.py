"""What each provider lists against our rows: read page by page into a run, then compared in the database.

The run is in the database: a command that was killed goes on at the page where it stopped. All that is held
here is one page.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from msgspec import Struct

from backend.database.backoff import full_jitter
from backend.providers.base import ErrorKind, ProviderError, VoicePage, VoiceProvider
from backend.providers.places import find_provider
from backend.web.upstreams import Upstreams
from scripts.operations import Operations, Row
from scripts.reconcile.providers import Keys, configured_providers
from scripts.reconcile.report import Report

T = TypeVar("T")
TRIES = 6  # of one call that a provider puts off, about a minute in all where it does not say how long
BASE_SECONDS, CAP_SECONDS = 1.0, 30.0
LONGEST_WAIT = 120.0  # a provider that says more is left to a later run
LOOKED_UP = 100  # voices that one call of the database tells
PASSING = (ErrorKind.THROTTLED, ErrorKind.UNAVAILABLE)
COLUMNS = ("provider", "region", "account", "provider_voice_id", "label", "attempt_id", "reason")
MEANINGS = {
    "late": "Made after its enrollment was closed as never made. --apply makes it an orphan, which goes "
    "after its grace.",
    "unknown": "The outcome of its create call was not known. --apply records it: the next try adopts it, "
    "or it becomes an orphan.",
    "duplicate": "A second voice of one create call. --apply makes it an orphan.",
    "returned": "Was removed or lost, and is there. --apply makes it an orphan again.",
    "gone": "In use here, and its provider does not have it. --apply closes its gate: its user sees "
    "voice_lost, and can make it again.",
    "unsettled": "A create call that made no voice. --apply asks the cleanup to close it.",
    "overdue": "An orphan whose grace is over. --apply asks the cleanup to remove it.",
    "foreign": "Without a label of ours: made by hand, or by another deployment. It is never touched.",
    "elsewhere": "Voices in an account or a region that these settings do not name. Nobody looked there.",
}
NAMED = frozenset({"foreign", "elsewhere"})  # what nothing here may repair


class Run(Struct, kw_only=True):
    """Of one provider."""

    project: Operations
    provider: VoiceProvider
    report: Report
    id: str = ""
    phase: str = "list"
    cursor: str | None = None
    read: int = 0

    @property
    def name(self) -> str:
        return self.provider.name

    def begin(self, *, restart: bool) -> None:
        where = {"provider": self.name, "region": self.provider.region or ""}
        found = self.project.value(
            "begin_reconciliation", **where, accounts=list(self.provider.accounts), restart=restart
        )
        self.id, self.phase, self.cursor, self.read = (
            found[key] for key in ("id", "phase", "cursor", "read")
        )
        if self.read or self.cursor:
            sys.stderr.write(f"{self.name}: goes on after {self.read} voices\n")


async def compare_voices(
    project: Operations,
    report: Report,
    keys: Keys,
    *,
    only: str | None,
    apply: bool,
    restart: bool,
    page: int,
) -> None:
    """Every configured provider, or one; one that cannot be read is reported, and the others are compared."""
    upstreams = Upstreams()
    local, remote = configured_providers(keys.supabase, keys.providers, upstreams)
    providers: dict[str, VoiceProvider] = {local.name: local, **remote}
    async with upstreams:
        try:
            for name in [only] if only else providers:
                run = Run(project=project, provider=providers[name], report=report)
                try:
                    await reconcile(run, apply=apply, restart=restart, page=page)
                except ProviderError as error:
                    report.faults[name] = f"{error.code}: {error.message}"
        finally:
            await local.aclose()
    report.add(list(elsewhere(project, providers, only)))


def elsewhere(project: Operations, providers: dict[str, VoiceProvider], only: str | None) -> Iterable[Row]:
    for row in project.rows("places"):
        if only in (None, row["provider"]):
            try:
                find_provider(providers, row["provider"], row["region"], row["account"], region_is_known=True)
            except ProviderError as error:
                yield {"finding": "elsewhere", **row, "reason": error.code}


async def reconcile(run: Run, *, apply: bool, restart: bool, page: int) -> None:
    run.begin(restart=restart)
    if run.cursor and run.phase != "compare":
        try:
            await read(run)
        except ProviderError as error:
            if error.kind in PASSING:
                raise
            run.begin(restart=True)  # the place in the list is not known there any more
    while run.phase != "compare":
        await (look_up(run) if run.phase == "confirm" and not run.provider.lists_only else read(run))
    compare(run, apply=apply, page=page)
    run.project.value("end_reconciliation", run=run.id)


async def read(run: Run) -> None:
    """One page of the list."""
    if run.phase == "confirm" and not run.cursor and not run.project.value("unlisted_voices", run=run.id):
        run.project.value("add_looked_up_voices", run=run.id, there=[], gone=[], is_last=True)
        run.phase = "compare"
        return
    found: VoicePage = await patiently(run, lambda: run.provider.list_page(run.cursor))
    run.phase = run.project.value(
        "add_listed_voices",
        run=run.id,
        phase=run.phase,
        cursor=run.cursor,
        voices=[voice.provider_voice_id for voice in found.voices],
        labels=[voice.label for voice in found.voices],
        target_models=[voice.target_model for voice in found.voices],
        unverified=[
            voice.provider_voice_id
            for voice in found.voices
            if voice.requires_verification and not voice.is_verified
        ],
        next=found.next,
    )
    run.cursor, run.read = found.next, run.read + len(found.voices)
    run.report.progress(f"{run.name}: {run.read} voices read")


async def look_up(run: Run) -> None:
    """By their ids: lists lag, and leave out the voices that a provider offers to everyone."""
    unlisted: list[str] = run.project.value("unlisted_voices", run=run.id, limit=LOOKED_UP)
    there, gone = list[str](), list[str]()
    for voice in unlisted:
        found = await patiently(run, lambda wanted=voice: run.provider.describe(wanted))
        (gone if found is None else there).append(voice)
    is_last = len(unlisted) < LOOKED_UP
    run.project.value("add_looked_up_voices", run=run.id, there=there, gone=gone, is_last=is_last)
    run.phase = "compare" if is_last else run.phase
    run.report.progress(f"{run.name}: {len(gone)} of {len(unlisted)} looked up are gone")


async def patiently(run: Run, call: Callable[[], Awaitable[T]]) -> T:
    """Again where the provider is busy or away, after the time that it says. The calls only read."""
    for tries in range(1, TRIES):
        try:
            return await call()
        except ProviderError as error:
            if error.kind not in PASSING or (error.retry_after or 0) > LONGEST_WAIT:
                raise
            delay = max(error.retry_after or 0, full_jitter(tries, BASE_SECONDS, CAP_SECONDS))
        sys.stderr.write(f"{run.name}: waits for {delay:.1f} s, as its provider is busy\n")
        await asyncio.sleep(delay)
    return await call()


def compare(run: Run, *, apply: bool, page: int) -> None:
    """Where all of several voices seem to be gone, none is closed: then the key is rather another's."""
    gone = run.project.value("gone_voices", run=run.id)
    if gone["suspicious"]:
        run.report.faults[run.name] = f"none of its {gone['gone']} voices is there: is it this account's key?"
    for kind in ("voice", "enrollment"):
        after = None
        while True:
            found = run.project.value("compare_voices", run=run.id, kind=kind, after=after, limit=page)
            findings: list[Row] = found["findings"]
            run.report.add(findings)
            run.report.compared += found["compared"]
            for each in findings if apply else ():
                if each["finding"] not in NAMED and not (each["finding"] == "gone" and gone["suspicious"]):
                    repair(run, each)
            if findings or found["last"]:
                run.report.progress(f"{run.name}, by {kind}")
            if (after := found["last"]) is None:
                break


def repair(run: Run, finding: dict[str, Any]) -> None:
    """A transaction each: it locks the attempts that use the voice."""
    by_enrollment = finding["finding"] in ("unsettled", "overdue")
    subject = finding["enrollment_id"] if by_enrollment else finding["provider_voice_id"]
    run.report.repaired += bool(
        run.project.value("repair_voice", run=run.id, finding=finding["finding"], id=subject)
    )
