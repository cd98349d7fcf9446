"""What travels between the service and the worker that inspects a sample. The worker imports little else."""

from msgspec import Struct

PREPARED_RATE = 24_000  # hertz of the prepared WAV: mono, 16-bit
WAV_HEADER = 44  # bytes


class Cleaning(Struct, frozen=True, kw_only=True):
    """What was done to the sample. Providers get the result; the original is kept as it was."""

    noise_suppressed: bool
    snr_db: float | None  # afterwards; None without speech
    gain_db: float
    loudness_lufs: float | None  # afterwards, as is the next
    true_peak_dbtp: float
    trimmed_start_seconds: float
    trimmed_end_seconds: float
    dc_offset: float  # of full scale, in the channel where it is largest; it was removed
    inverted_channels: int  # turned over before mixing
    dead_channels: int  # left out


class Inspection(Struct, frozen=True, kw_only=True):
    """Seconds, hertz, decibels of full scale. The first fields describe the file, the others its audio."""

    container: str
    codec: str
    content_type: str  # by content
    bytes: int
    sample_rate: int
    channels: int
    seconds: float  # decoded; a lower bound when `cut_short`
    cut_short: bool  # decoding stopped at the maximum
    declared_seconds: float | None  # what the header promises, where headers do
    truncated: bool  # the file ends before that, or inside of a part of its container
    damaged_share: float  # of its packets, its time or its bytes, whichever is most
    voiced_seconds: float  # of speech, pauses left out
    longest_speech_seconds: float  # pauses up to half a second included
    other_sound_seconds: float  # as loud as speech, and no voice: music, a siren
    silence_ratio: float
    peak_dbfs: float  # as recorded, as is the next
    clipped_share: float  # at whatever level, since a recording may be turned down afterwards
    loudness_lufs: float | None  # None: too quiet or too short to have one
    noise_floor_dbfs: float
    snr_db: float | None  # speech over noise; None without speech
    echo_db: float | None  # speech over its echo; None where there is none to speak of
    tonal_noise: bool  # the noise has few tones, such as music or a hum
    pitch_hz: float | None  # median
    speaker_similarity: float | None  # of the two most different voices; None where it is not looked for
    prepared_seconds: float  # of the cleaned WAV, written or not, as are the bytes
    prepared_bytes: int
    cleaning: Cleaning


class InspectionJob(Struct, frozen=True):
    """Of a worker: decode the first file, keep its tracks in the second, clean it into the third."""

    max_seconds: float
