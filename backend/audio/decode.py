"""Decoding: detects the real format of a file by its content, and yields its samples in blocks.

Only formats that hold audio themselves are opened: a playlist or a script could name other files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from msgspec import Struct

from backend.audio.containers import ends_early, has_length, wav_seconds
from backend.sandbox.errors import InputRefused

DEMUXERS = "wav,w64,aiff,au,caf,flac,mp3,aac,ogg,amr,mov,mp4,matroska,webm"
DECODERS = (
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_u8,pcm_s8,"
    "pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav,gsm_ms,flac,alac,mp3,mp3float,aac,opus,libopus,vorbis,amrnb,"
    "amrwb,libopencore_amrnb,libopencore_amrwb"
)
CONTENT_TYPES = {
    "wav": "audio/wav",
    "w64": "audio/x-w64",
    "aiff": "audio/aiff",
    "au": "audio/basic",
    "caf": "audio/x-caf",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "amr": "audio/amr",
    "mov": "audio/mp4",
    "matroska": "audio/webm",
}
# Whose header holds the true length. That of others is bounded by the file's, guessed or missing.
PROMISING = frozenset({"flac", "mov", "aiff", "au"})
COUNTED = frozenset({"wav", "w64", "caf", "ogg"})  # their length is that of the audio which is there
MAX_CHANNELS = 8
SAMPLE_RATES = range(4_000, 384_001)
MAX_SAMPLES = 64_000_000  # of all channels: eleven minutes at 48 kHz in stereo
MAX_PACKETS = 500_000  # ten minutes at the 2.5 ms of the shortest frames are 240 000
LARGEST_MP3_FRAME = 1_729  # bytes; a packet that is longer holds what is no MP3
GAP_SECONDS = 0.5  # between packets: what is missing was not left out by the encoder
BLOCK_SECONDS = 0.5
FULL_SCALE = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63, "flt": 1, "dbl": 1}
CUT_OFF = "the file was cut off before its audio can be read; upload the whole file"
NOT_AUDIO = "this file is not audio that we can read; WAV, MP3, M4A, FLAC, Ogg and WebM pass"


class Source(Struct):
    """An opened file. `samples` and what follows counts what was decoded so far."""

    file: InputContainer
    stream: AudioStream
    container: str
    codec: str
    content_type: str
    sample_rate: int
    channels: int
    declared_seconds: float | None
    expected_seconds: float | None  # what will be decoded, where that is known before
    size: int
    ends_early: bool
    samples: int = 0
    packets: int = 0
    damaged: int = 0
    bytes: int = 0  # of the packets
    foreign_bytes: int = 0  # between the frames of an MP3
    lost_seconds: float = 0.0  # between packets
    ended_at: float | None = None  # seconds: the last packet
    cut_short: bool = False  # decoding stopped at the maximum: there may be more

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    @property
    def damaged_share(self) -> float:
        """Of the packets, of the time or of the bytes, whichever is most."""
        lost_seconds = max(self.lost_seconds, self._missing_seconds())
        lost = lost_seconds / max(lost_seconds + self.seconds, 1e-9)
        unread = self.size - self.bytes if self.container == "aac" and not self.cut_short else 0
        foreign = max(self.foreign_bytes, unread) / self.size
        return max(self.damaged / max(1, self.packets), lost, foreign)

    def _missing_seconds(self) -> float:
        """What a container holds and could not be read: its pages or clusters are damaged."""
        whole = self.container in ("ogg", "matroska") and not self.ends_early and not self.cut_short
        missing = (self.expected_seconds or 0.0) - self.seconds
        return missing if whole and missing > GAP_SECONDS else 0.0

    def blocks(self, max_seconds: float) -> Iterator[np.ndarray]:
        """float32, channels × samples, about half a second each; stops at `max_seconds`."""
        pending: list[np.ndarray] = []
        waiting = 0
        self._require_little(min(self.declared_seconds or 0.0, max_seconds) * self.sample_rate)
        for samples in self._decode():
            room = round(max_seconds * self.sample_rate) - self.samples
            self._require_little(self.samples + min(room, samples.shape[1]))
            self.cut_short = samples.shape[1] > room
            pending.append(samples[:, :room])
            self.samples += pending[-1].shape[1]
            waiting += pending[-1].shape[1]
            if self.cut_short:
                break
            if waiting >= BLOCK_SECONDS * self.sample_rate:
                yield np.concatenate(pending, axis=1)
                pending, waiting = [], 0
        if waiting:
            yield np.concatenate(pending, axis=1)

    def _require_little(self, samples: float) -> None:
        """`samples` of each channel: as the header declares, and as decoded, since headers lie."""
        if samples * self.channels > MAX_SAMPLES:
            raise InputRefused(
                "too_many_samples",
                f"{self.sample_rate} Hz × {self.channels} channels is too much to decode at this length; "
                "save it with 48000 Hz and one channel",
                {"sample_rate": self.sample_rate, "channels": self.channels, "limit": MAX_SAMPLES},
            )

    def _decode(self) -> Iterator[np.ndarray]:
        """A damaged packet is counted and skipped, as players do."""
        packets = self.file.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:  # the end of the container is damaged: use what was read
                self.damaged += 1
                return
            if packet is None:
                return
            self._count(packet)
            if self.packets > MAX_PACKETS:
                raise InputRefused("sample_damaged", "the sample is cut into more packets than a sample has")
            try:
                frames = packet.decode()
            except FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.sample_rate != self.sample_rate or frame.layout.nb_channels != self.channels:
                    raise InputRefused(
                        "sample_damaged", "the sample changes its sample rate or channels on the way"
                    )
                yield _floats(frame, self.channels)

    def _count(self, packet: av.Packet) -> None:
        self.packets += 1
        self.bytes += packet.size
        if self.container == "mp3":
            self.foreign_bytes += max(0, packet.size - LARGEST_MP3_FRAME)
        if packet.pts is None or not packet.duration or packet.time_base is None:
            return
        start = float(packet.pts * packet.time_base)
        gap = 0.0 if self.ended_at is None else start - self.ended_at
        if gap > GAP_SECONDS:
            self.lost_seconds += gap
        self.ended_at = start + float(packet.duration * packet.time_base)


@contextmanager
def open_source(file: BinaryIO) -> Iterator[Source]:
    """Raises InputRefused `invalid_format` for a codec, sample rate or channel count that is not accepted."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise InputRefused("invalid_format", "the file is empty")
    early = ends_early(file)
    file.seek(0)
    options = {"protocol_whitelist": "", "format_whitelist": DEMUXERS, "codec_whitelist": DECODERS}
    try:
        container = av.open(file, mode="r", container_options=options)
    except (FFmpegError, ValueError):
        if early:
            raise InputRefused("sample_truncated", CUT_OFF) from None
        raise InputRefused("invalid_format", NOT_AUDIO) from None
    with container:
        yield _source(container, file, size, early)


def _source(container: InputContainer, file: BinaryIO, size: int, early: bool) -> Source:
    if not container.streams.audio:
        raise InputRefused("invalid_format", "the file has no audio in it")
    stream = container.streams.audio[0]
    try:
        context = stream.codec_context
        rate, channels, codec = context.sample_rate, context.channels, context.name
    except (FFmpegError, AttributeError, ValueError):  # a codec that FFmpeg does not know at all
        raise InputRefused("invalid_format", NOT_AUDIO) from None
    if codec not in DECODERS.split(","):
        raise InputRefused("invalid_format", f"audio of the kind {codec} is not taken", {"codec": codec})
    if rate not in SAMPLE_RATES:
        raise InputRefused(
            "invalid_format", f"a sample rate of {rate} Hz is not taken", {"sample_rate": rate}
        )
    if channels not in range(1, MAX_CHANNELS + 1):
        raise InputRefused(
            "invalid_format", f"{channels} channels, at most {MAX_CHANNELS}", {"channels": channels}
        )
    name = container.format.name.split(",")[0]
    content_type = CONTENT_TYPES.get(name, f"audio/{name}")
    has_video = any(not each.disposition.attached_pic for each in container.streams.video)
    return Source(
        file=container,
        stream=stream,
        container=name,
        codec=codec,
        content_type=content_type.replace("audio/", "video/") if has_video else content_type,
        sample_rate=rate,
        channels=channels,
        declared_seconds=(declared := _declared_seconds(container, stream, name, file)),
        expected_seconds=_seconds(stream) if name in COUNTED else declared,
        size=size,
        ends_early=early,
    )


def _declared_seconds(
    container: InputContainer, stream: AudioStream, name: str, file: BinaryIO
) -> float | None:
    """FFmpeg reads on where it was: the position of the file is restored."""
    at = file.tell()
    try:
        if name == "wav" and stream.codec_context.name.startswith("pcm_"):
            return wav_seconds(file)  # FFmpeg limits the declared duration to the data
        if name in PROMISING or (name == "mp3" and has_length(file, name)):
            return _seconds(stream)
        if name == "matroska" and not container.streams.video and has_length(file, name):
            return container.duration / av.time_base if container.duration else None
        return None
    finally:
        file.seek(at)


def _seconds(stream: AudioStream) -> float | None:
    if not stream.duration or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _floats(frame: av.AudioFrame, channels: int) -> np.ndarray:
    """Full scale is 1.0. A float file may hold larger values, or NaN."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    kind = frame.format.name.removesuffix("p")
    floats = samples.astype(np.float32)
    if kind == "u8":
        floats -= FULL_SCALE[kind]
    floats /= FULL_SCALE[kind]
    return np.clip(np.nan_to_num(floats, copy=False), -4.0, 4.0)
