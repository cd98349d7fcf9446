"""The JSON that DashScope answers, as far as the adapter reads it."""

from typing import Any, Generic, TypeVar

from msgspec import Struct, field

T = TypeVar("T")


class Created(Struct):
    voice: str
    target_model: str | None = None
    fallback_mode: bool | None = None
    fallback_reason: str | None = None


class Deleted(Struct):
    voice: str | None = None


class ListedVoice(Struct):
    voice: str
    language: str | None = None
    target_model: str | None = None  # gmt_create is left alone: its time zone is not documented


class Page(Struct):
    voice_list: list[ListedVoice] = field(default_factory=list)
    total_count: int | None = None


class Audio(Struct):
    url: str | None = None


class Speech(Struct):
    audio: Audio


class Envelope(Struct, Generic[T]):
    output: T
    request_id: str | None = None
    usage: Any = None  # shown to operators, so its shape does not matter


class QwenError(Struct):
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
