"""The mirror as a route answers it: the keys of the lifecycle, without those of the application."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.error_codes import ErrorCode
from backend.values import MirroredStatus, PreviewStatus, Provider, RuntimeStatus


class MirrorError(Struct, frozen=True, kw_only=True):
    """Why the attempt failed. `final` says that it is not tried again by itself."""

    code: ErrorCode
    message: str
    final: bool = True


class Mirror(Struct, frozen=True, kw_only=True, rename="camel"):
    """Lifecycle state as `reflections.voice` carries it. Without a clone `cloneStatus` is `none`."""

    clone_status: MirroredStatus = MirroredStatus.NONE
    runtime_status: RuntimeStatus = RuntimeStatus.PENDING
    preview_status: PreviewStatus = PreviewStatus.NOT_REQUIRED
    preview_required: bool = False
    attempt_id: UUID | None = None
    voice_id: UUID | None = None
    provider: Provider | None = None
    target_model: str | None = None
    error: MirrorError | None = None
    version: int = 0
    updated_at: datetime | None = None

    @classmethod
    def of(cls, voice: dict[str, Any]) -> "Mirror":
        """A column that was never mirrored may have keys of the application with these names."""
        if voice.get("cloneStatus") not in list(MirroredStatus):
            return cls()
        names = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
        return cls(**{name: voice[key] for name, key in names if key in voice})
