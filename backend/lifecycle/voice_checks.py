"""Checks of voices: whether each is still at its provider. A voice that is not closes its gate.

One message checks a few voices of one account. Where a provider has no call for one voice, its whole list is
read instead. Nothing is concluded from an error, nor where nothing proves that this is the account. Those
that have not spoken for long are made to (canaries.py).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.lifecycle.canaries import MOST_CANARIES, ONE_VOICE_ONLY, speak_canaries
from backend.lifecycle.leases import Claim, finish, unclaimed
from backend.providers.base import ProviderError, VoiceProvider
from backend.providers.places import find_provider
from backend.queues.outcomes import Outcome
from backend.web.logs import log

queries = load_queries(__file__)
MOST_SECONDS = 120.0  # of calls in one step: with the last one it ends before its lease
PAGE = 5_000  # voices read at once
WITNESSES = 5  # other voices that are looked up before an answer counts as one of another account
SUSPICIOUS = 3  # where so many are kept and all are missing, the key is rather one of another account
ALL_MISSING = "all_voices_missing"
TIMED_OUT = "check_timed_out"


class CheckWork(Struct, frozen=True, kw_only=True):
    """`after_voice`: the last that this round has checked. `wanted`: how many are due one by one."""

    provider: str
    region: str
    account: str
    after_voice: UUID | None
    voices: int
    wanted: int


class CheckedVoice(Struct, frozen=True, kw_only=True):
    voice_id: UUID
    provider_voice_id: str
    canary_is_due: bool
    is_silent: bool


class Answers(Struct, kw_only=True):
    """What a provider said. `after`: the last voice that was answered for; null: all of the round.

    `canaries`: the voices among them that are to speak. `silent`: how many did not when they last were to.
    """

    after: UUID | None = None
    present: bool = False  # at least one voice: this is the account
    missing: list[str] = []
    error: str | None = None
    stopped_at: UUID | None = None
    canaries: list[UUID] = []
    silent: int = 0

    def note(self, voice: CheckedVoice) -> None:
        """The provider has this voice."""
        self.silent += voice.is_silent
        if voice.canary_is_due and len(self.canaries) < MOST_CANARIES:
            self.canaries.append(voice.voice_id)


class Check(Struct, frozen=True, kw_only=True):
    """A claimed check."""

    context: AppContext
    check_id: UUID
    epoch: int
    work: CheckWork

    def provider(self) -> VoiceProvider:
        """Raises ProviderError where the account is not one that is set up here."""
        work = self.work
        return find_provider(
            self.context.providers, work.provider, work.region, work.account, region_is_known=True
        )

    async def voices(self, after: UUID | None, limit: int) -> list[CheckedVoice]:
        work = self.work
        values = {
            "provider": work.provider, "region": work.region, "account": work.account, "after": after,
            "limit": limit, "unused_days": self.provider().limits.unused_days,
        }  # fmt: skip
        return await self.context.database.fetch_all(queries.voices_to_check, values, row=CheckedVoice)


async def check_voices(context: AppContext, check_id: UUID, /, *, message_id: int | None = None) -> Outcome:
    """From the queue. Safe to run twice, and late."""
    about: dict[str, Any] = {"check": check_id}
    claim = await context.database.fetch_one(queries.claim_voice_check, about, row=Claim[CheckWork])
    if claim is None or claim.work is None or claim.lease_epoch is None:
        return unclaimed(claim)
    check = Check(context=context, check_id=check_id, epoch=claim.lease_epoch, work=claim.work)
    answers = Answers(after=check.work.after_voice)
    until = time.monotonic() + MOST_SECONDS
    try:
        await ask(check, answers, until)
    except ProviderError as error:  # not even what was missing is believed
        log.warning("provider_failed", provider=check.work.provider, error=str(error))
        answers = Answers(after=check.work.after_voice, error=error.code, stopped_at=answers.stopped_at)
    if not answers.error:
        lease = {"check": check_id, "epoch": check.epoch}
        await speak_canaries(context, check.provider(), lease, answers.canaries, until)
    else:
        log.warning("voice_check_stopped", provider=check.work.provider, code=answers.error)

    async def record() -> None:
        await lose(check, answers.missing)
        values = {
            **about, "epoch": check.epoch, "after": answers.after, "code": answers.error,
            "stopped_at": answers.stopped_at, "silent": answers.silent, "message": message_id,
        }  # fmt: skip
        await context.database.execute(queries.record_voice_check, values)

    return await finish(record, answers.error or "checked", message_id)


async def ask(check: Check, answers: Answers, until: float) -> None:
    """Raises ProviderError where the account is not the one that is set up here, or nothing was answered."""
    provider = check.provider()
    before = answers.after
    if provider.lists_only:
        await compare_with_list(check, provider, answers)
    else:
        await describe_each(check, provider, answers, until)
    if answers.missing and not answers.present and not await is_the_account(check, provider, answers.missing):
        answers.error, answers.missing, answers.after, answers.silent = ALL_MISSING, [], before, 0


async def describe_each(check: Check, provider: VoiceProvider, answers: Answers, until: float) -> None:
    """As many as are due. An error that is not about one voice stops them; the next try goes on there."""
    limit = min(check.work.wanted, check.context.settings.attempts.voice_checks_per_minute)
    voices = await check.voices(answers.after, limit)
    for voice in voices:
        try:
            found = await provider.describe(voice.provider_voice_id) is not None
        except ProviderError as error:
            if error.kind not in ONE_VOICE_ONLY:
                log.warning("provider_failed", provider=check.work.provider, error=str(error))
                answers.error, answers.stopped_at = error.code, voice.voice_id
                return
        else:
            answers.present |= found
            if found:
                answers.note(voice)
            else:
                answers.missing.append(voice.provider_voice_id)
        answers.after = voice.voice_id
        if time.monotonic() > until:
            return
    if len(voices) < limit:
        answers.after = None


async def compare_with_list(check: Check, provider: VoiceProvider, answers: Answers) -> None:
    """All voices at once. One that two lists in a row leave out is missing: a list may lag or shift."""
    try:
        async with asyncio.timeout(MOST_SECONDS):
            kept, noted = set[str](), list[CheckedVoice]()
            async for voice in every_voice(check):
                kept.add(voice.provider_voice_id)
                if voice.canary_is_due or voice.is_silent:
                    noted.append(voice)
            missing = set(kept)
            for _ in range(2):
                if missing:
                    missing -= {voice.provider_voice_id async for voice in provider.list()}
    except TimeoutError:
        answers.error = TIMED_OUT
        return
    answers.present = len(missing) < len(kept)
    answers.missing = sorted(missing)
    for voice in noted:
        if voice.provider_voice_id not in missing:
            answers.note(voice)
    answers.after = None


async def every_voice(check: Check) -> AsyncIterator[CheckedVoice]:
    after: UUID | None = None
    while voices := await check.voices(after, PAGE):
        for voice in voices:
            yield voice
        after = voices[-1].voice_id


async def is_the_account(check: Check, provider: VoiceProvider, missing: Iterable[str]) -> bool:
    """Whether an answer without any voice may be believed: one of the others is there.

    Where there are fewer than three, the name of the account is known and the provider lists its voices.
    """
    known = set(missing)
    others = [
        voice.provider_voice_id
        for voice in await check.voices(None, len(known) + WITNESSES)
        if voice.provider_voice_id not in known
    ]
    if not provider.lists_only:
        for other in others[:WITNESSES]:
            if await provider.describe(other) is not None:
                return True
    if not check.work.account or len(known) + len(others) >= SUSPICIOUS:
        return False
    listed = {voice.provider_voice_id async for voice in provider.list()}
    return not listed & known


async def lose(check: Check, missing: Iterable[str]) -> None:
    """A transaction each: it locks the attempts that use the voice."""
    for voice in missing:
        values = {"check": check.check_id, "epoch": check.epoch, "id": voice}
        lost = await check.context.database.fetch_value(queries.lose_checked_voice, values, of=int)
        log.warning("voice_lost", provider=check.work.provider, provider_voice_id=voice, voices=lost or 0)
