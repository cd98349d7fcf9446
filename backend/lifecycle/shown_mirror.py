"""The mirror as a route answers it: the keys of the lifecycle, without those of the application."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.lifecycle.values import MirroredStatus, PreviewStatus, Provider, RuntimeStatus
from backend.web.error_codes import ErrorCode


class MirrorError(Struct, frozen=True, kw_only=True):
    """Why the attempt failed. `final` says that it is not tried again by itself."""

    code: ErrorCode
    message: str
    final: bool


class Mirror(Struct, frozen=True, kw_only=True, rename="camel"):
    """Lifecycle state as `reflections.voice` carries it. Every key is there from the first moment; without a
    clone `cloneStatus` is `none`, and before the first one `version` is 0."""

    clone_status: MirroredStatus
    runtime_status: RuntimeStatus
    preview_status: PreviewStatus
    preview_required: bool
    attempt_id: UUID | None
    voice_id: UUID | None
    provider: Provider | None
    target_model: str | None
    error: MirrorError | None
    version: int
    updated_at: datetime | None

    @classmethod
    def of(cls, voice: dict[str, Any]) -> "Mirror":
        """Of what `voice_clone.shown_mirror` returns, which has every key."""
        names = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
        return cls(**{name: voice[key] for name, key in names})
