"""The contract of a voice provider: what a provider can do for a voice, and how it fails.

An adapter translates its vendor's HTTP into these types and nothing else: it keeps no state, opens no
transaction and never retries a create (an unknown outcome is the caller's to resolve, by label).
"""

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec import Struct

from backend.errors import InvalidInput

MAX_METADATA_BYTES = 2_000  # of JSON; the database refuses more than 4,096
LABEL = re.compile(r"^[a-z0-9_]{1,16}$")


def new_label() -> str:
    """A label no other enrollment has (80 random bits), short enough for the tightest provider."""
    return secrets.token_hex(8)


def create_metadata(**known: object) -> dict[str, object]:
    """What the answer of a create call says beside the voice, in a bounded size."""
    told = {name: value for name, value in known.items() if value is not None}
    if len(msgspec.json.encode(told)) <= MAX_METADATA_BYTES:
        return told
    return {"omitted": sorted(told)}


class ErrorKind(StrEnum):
    """What a provider's failure means for the attempt."""

    REJECTED = "rejected"  # the user can fix it: another sample, another text
    THROTTLED = "throttled"  # later
    UNAVAILABLE = "unavailable"  # later; the call is known to have had no effect
    FULL = "full"  # no voice slot is left: retrying changes nothing
    MISCONFIGURED = "misconfigured"  # key, region, plan or model: page someone
    UNKNOWN = "unknown"  # it may have happened: look the label up first
    MISPLACED = "misplaced"  # the voice is in another region or account: wait for the operator


class ProviderError(Exception):
    """A provider refused or failed.

    `code` is ours and stable (snake_case); `message` is safe for the user; `provider_code`, `request_id` and
    `provider_message` are the provider's, for operators; `retry_after` is in seconds where the provider said
    so; `limit` is what an adapter enforces before it calls.
    """

    def __init__(
        self,
        kind: ErrorKind,
        code: str,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        provider_code: str | None = None,
        request_id: str | None = None,
        provider_message: str | None = None,
        retry_after: float | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.provider = provider
        self.status = status
        self.provider_code = provider_code
        self.request_id = request_id
        self.provider_message = provider_message
        self.retry_after = retry_after
        self.limit = limit

    def __str__(self) -> str:
        told = f"HTTP {self.status}, {self.provider_code}, {self.request_id}"
        said = f": {self.provider_message}" if self.provider_message else ""
        return f"{self.provider} {self.kind}: {self.code} ({told}){said}"


class Limits(Struct, frozen=True, kw_only=True):
    """What a provider accepts. Seconds of audio, bytes of the encoded sample, hertz."""

    min_seconds: float
    max_seconds: float
    max_bytes: int
    min_sample_rate: int
    min_voiced_seconds: float = 0.0
    languages: frozenset[str] | None = None  # ISO 639-1; None accepts any
    max_characters: int  # of one synthesis, as `count_characters` counts them
    max_characters_by_model: Mapping[str, int] = {}  # of the target models that differ
    count_characters: Callable[[str], int] = len
    removes_noise: bool = False  # by itself, of a recording, where it is asked to
    slots: int | None = None  # voices an account may hold; None when the plan decides
    listing_lag_seconds: float = 0.0  # how long a committed voice may be missing from `find`
    unused_days: int | None = None  # after so many days without speech the provider deletes a voice

    def characters_of(self, target_model: str) -> int:
        """Of one synthesis with a voice of this target model."""
        return self.max_characters_by_model.get(target_model, self.max_characters)

    def require_language(self, language: str) -> None:
        """Raises InvalidInput where the provider does not speak the language."""
        if self.languages is not None and language not in self.languages:
            raise InvalidInput(
                f"This provider does not speak {language!r}.",
                code="language_unsupported",
                field="language",
                help=f"One of {', '.join(sorted(self.languages))}.",
            )


class Slots(Struct, frozen=True, kw_only=True):
    """What an account at a provider says of itself."""

    used: int  # by any client of the account
    allowed: int


class Sample(Protocol):
    """The audio to enroll: WAV, 16-bit, mono. Both accessors may be called more than once."""

    path: str  # where the service keeps it
    content_type: str
    size: int  # bytes

    async def signed_url(self, seconds: int) -> str:
        """A URL that needs no header and expires. Never logged."""
        ...

    def stream(self) -> AsyncIterator[bytes]: ...


class EnrollRequest(Struct, frozen=True, kw_only=True):
    label: str  # unique for each enrollment; the only name `find` knows
    name: str  # what the user typed; shown at the provider where it has room for it
    language: str  # ISO 639-1
    transcript: str | None
    sample: Sample
    remove_background_noise: bool = False


class Enrolled(Struct, frozen=True, kw_only=True):
    provider_voice_id: str
    target_model: str  # the synthesis model this voice works with
    request_id: str | None = None
    requires_verification: bool = False
    metadata: dict[str, object] | None = None  # usage and diagnostics of the create call; None: not known


class ProviderVoice(Struct, frozen=True, kw_only=True):
    """A voice as its provider describes it."""

    provider_voice_id: str
    label: str | None  # None when the provider does not tell
    target_model: str | None
    created_at: datetime | None = None
    language: str | None = None  # ISO 639-1
    requires_verification: bool = False
    is_verified: bool = True
    verification_refused: bool = False  # the provider refused the verification


class VoicePage(Struct, frozen=True, kw_only=True):
    """A part of what a provider lists. `next` is where the next part begins; None: there is none."""

    voices: list[ProviderVoice]
    next: str | None


class SpeechRequest(Struct, frozen=True, kw_only=True):
    provider_voice_id: str
    target_model: str
    text: str
    language: str


class VoiceProvider(Protocol):
    """Every method raises ProviderError and nothing else."""

    name: str
    region: str | None
    accounts: tuple[str, ...]  # the names of the account here; a new voice gets the first
    voice_kind: (
        str  # of the voices that `enroll` makes, in the vendor's word: vc, ivc, instant, reference, match
    )
    lists_only: bool  # there is no call for one voice: `describe` reads the list
    target_model: str  # what voices are made for and spoken with; a voice of another is not served

    @property
    def limits(self) -> Limits: ...

    async def slots(self) -> Slots | None:
        """The account's slots; None where the provider does not tell."""
        ...

    async def enroll(self, request: EnrollRequest) -> Enrolled:
        """Create the voice: exactly one create call, never repeated here."""
        ...

    async def find(self, label: str) -> ProviderVoice | None:
        """The voice that was created under this label, if its provider lists it."""
        ...

    async def describe(self, provider_voice_id: str) -> ProviderVoice | None: ...

    async def list_page(self, cursor: str | None) -> VoicePage:
        """From the beginning, or from the `next` of a page, which another process may have read before."""
        ...

    def list(self) -> AsyncIterator[ProviderVoice]: ...

    async def delete(self, provider_voice_id: str) -> None:
        """Idempotent: deleting a voice that is gone succeeds."""
        ...

    async def synthesize(self, request: SpeechRequest) -> bytes:
        """One utterance as a WAV file: 16-bit PCM, mono."""
        ...


async def every_page(list_page: Callable[[str | None], Awaitable[VoicePage]]) -> AsyncIterator[ProviderVoice]:
    """The voices of all pages."""
    cursor = None
    while True:
        page = await list_page(cursor)
        for voice in page.voices:
            yield voice
        if page.next is None:
            return
        cursor = page.next
