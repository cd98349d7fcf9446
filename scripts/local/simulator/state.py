"""What the vendors share: voices, the log of calls, faults, and waiting for things to happen."""

import asyncio
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from scripts.local.simulator.faults import Fault, Faults
from scripts.local.simulator.http import Request

VENDORS = ("qwen", "elevenlabs", "cartesia")  # that keep voices
REFUSAL = "The recording does not match the voice."
Phase = Literal["arrived", "committed", "finished"]


class Voice(Struct, kw_only=True):
    provider: str
    voice_id: str
    label: str  # Qwen's preferred name, the name of the others
    account: str  # Qwen: the region
    language: str | None = None
    target_model: str | None = None
    description: str | None = None
    removes_noise: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    used_at: float = 0.0  # when it last spoke; 0: never
    pitch: float = 120.0  # hertz, measured in the sample
    sample_seconds: float = 0.0
    visible_at: float = 0.0
    hidden_lists: int = 0
    requires_verification: bool = False
    is_verified: bool = False
    verification_failures: list[str] = field(default_factory=list)
    verification_attempts: int = 0
    polls_left: int | None = None  # at the voice, until its verification is decided by itself
    will_be_refused: bool = False

    def verify(self, refusal: str | None = None) -> None:
        """Decide the verification: the speaker is verified, or refused for this reason."""
        self.verification_attempts += 1
        self.is_verified = refusal is None
        self.polls_left = None
        if refusal is not None:
            self.verification_failures.append(refusal)


class CallRecord(Struct, kw_only=True):
    """One call to a vendor, without anything secret."""

    provider: str
    operation: str
    label: str
    at: float
    committed: bool = False
    outcome: str | None = None  # the status and the vendor's code, or what became of the connection
    met: list[str] = field(default_factory=list)


class SimulatorState:
    """Everything the simulator remembers. With `path`, voices outlive it: a log of changes, one a line."""

    def __init__(self, *, path: Path | None = None, instant: bool = False, slots: int | None = None) -> None:
        self.instant = instant
        self.slots = slots
        self.faults = Faults()
        self.calls: deque[CallRecord] = deque(maxlen=20_000)
        self.hanging = 0
        self._counts: Counter[tuple[str, str, Phase]] = Counter()
        self._voices: dict[tuple[str, str], Voice] = {}
        self._changed = asyncio.Event()
        self._released = asyncio.Event()
        self._log = None
        if path:
            self._restore(path)
            self._log = path.open("ab", buffering=0)

    def voices(self, provider: str, account: str) -> list[Voice]:
        """The account's voices, the newest first."""
        return [
            voice
            for voice in reversed(self._voices.values())
            if voice.provider == provider and voice.account == account
        ]

    def all_voices(self) -> list[Voice]:
        return list(self._voices.values())

    def voice(self, provider: str, account: str, voice_id: str) -> Voice | None:
        voice = self._voices.get((provider, voice_id))
        return voice if voice and voice.account == account else None

    def keep(self, voice: Voice) -> None:
        self._voices[voice.provider, voice.voice_id] = voice
        self._append({"kept": voice})

    def drop(self, voice: Voice) -> None:
        del self._voices[voice.provider, voice.voice_id]
        self._append({"dropped": [voice.provider, voice.voice_id]})

    def drop_unused(self, provider: str, since: float) -> list[str]:
        """Those that were neither made nor used since then; their ids."""
        unused = [
            voice
            for voice in self.all_voices()
            if voice.provider == provider and max(voice.created_at, voice.used_at) < since
        ]
        for voice in unused:
            self.drop(voice)
        return [voice.voice_id for voice in unused]

    def listed(self, provider: str, account: str) -> list[Voice]:
        """The voices a list call shows; each call brings the hidden ones nearer."""
        shown = []
        for voice in self.voices(provider, account):
            if voice.hidden_lists > 0:
                voice.hidden_lists -= 1
            elif voice.visible_at <= time.time():
                shown.append(voice)
        return shown

    def arrive(self, provider: str, operation: str, label: str) -> CallRecord:
        call = CallRecord(provider=provider, operation=operation, label=label, at=time.time())
        self.calls.append(call)
        self._note(call, "arrived")
        return call

    def commit(self, call: CallRecord) -> None:
        call.committed = True
        self._note(call, "committed")

    def finish(self, call: CallRecord, outcome: str) -> None:
        call.outcome = outcome
        self._note(call, "finished")

    def count(self, provider: str, operation: str, phase: Phase, label: str | None) -> int:
        if label is None:
            return self._counts[provider, operation, phase]
        return sum(
            (phase == "arrived") or (call.committed if phase == "committed" else call.outcome is not None)
            for call in self.calls
            if (call.provider, call.operation) == (provider, operation) and label in call.label
        )

    async def wait(
        self, provider: str, operation: str, phase: Phase, label: str | None, count: int, seconds: float
    ) -> int:
        """Until so many such calls were seen, or the time is up; how many were."""
        try:
            async with asyncio.timeout(seconds):
                while (seen := self.count(provider, operation, phase, label)) < count:
                    await self._changed.wait()
        except TimeoutError:
            seen = self.count(provider, operation, phase, label)
        return seen

    async def hang(self, request: Request) -> bool:
        """Hold the call until it is released; False when its client left first."""
        released = self._released
        self.hanging += 1
        waits = [asyncio.ensure_future(released.wait()), asyncio.ensure_future(request.client_left.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.hanging -= 1
            for wait in waits:
                wait.cancel()
        return not request.client_left.is_set()

    def release(self) -> int:
        held, self._released, released = self.hanging, asyncio.Event(), self._released
        released.set()
        return held

    def inject(self, fault: Fault) -> None:
        self.faults.pending.append(fault)

    def reset(self) -> None:
        self.release()
        self._voices.clear()
        self.calls.clear()
        self._counts.clear()
        self.faults.pending.clear()
        if self._log:
            self._log.truncate(0)

    def _note(self, call: CallRecord, phase: Phase) -> None:
        self._counts[call.provider, call.operation, phase] += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _append(self, change: dict[str, Any]) -> None:
        if self._log:
            self._log.write(msgspec.json.encode(change) + b"\n")

    def _restore(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                change = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue  # cut off by a kill
            if "kept" in change:
                voice = msgspec.convert(change["kept"], Voice)
                self._voices[voice.provider, voice.voice_id] = voice
            else:
                self._voices.pop(tuple(change["dropped"]), None)
