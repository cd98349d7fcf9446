"""Which audio a provider gets: the cleaned sample, or the recording itself where it removes the noise.

Why noise is removed only once: docs/decisions/0082-noise-is-removed-once.md
"""

from backend.lifecycle.attempts import Work
from backend.providers.base import Limits
from backend.storage.client import Storage
from backend.storage.samples import StoredSample

RECORDING = "recording"  # the source of an attempt that clones a recorded call


def enrolled_sample(storage: Storage, work: Work, limits: Limits) -> tuple[StoredSample, bool] | None:
    """The audio, and whether the provider is asked to remove its noise. None where there is no sample."""
    if work.path is None or work.bytes is None:
        return None
    path, size = work.original_path, work.original_bytes
    if work.source != RECORDING or not limits.removes_noise or path is None or size is None:
        return StoredSample(storage, work.path, work.bytes), False
    if work.original_type != StoredSample.content_type or size > limits.max_bytes:
        return StoredSample(storage, work.path, work.bytes), False
    return StoredSample(storage, path, size), True
