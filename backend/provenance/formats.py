"""The formats in which speech leaves. Where a format holds no mark, its manifest is kept beside the audio."""

from msgspec import Struct


class AudioFormat(Struct, frozen=True, kw_only=True):
    """`container` and `codec`: FFmpeg's names, empty where the samples are taken as they are.

    `sample_rate`: Hz, 0 for that of the speech.
    """

    name: str
    content_type: str
    container: str = ""
    codec: str = ""
    sample_rate: int = 0
    holds_mark: bool = True


WAV = AudioFormat(name="wav", content_type="audio/wav")
FORMATS = {
    each.name: each
    for each in (
        WAV,
        AudioFormat(name="mp3", content_type="audio/mpeg", container="mp3", codec="libmp3lame"),
        AudioFormat(name="flac", content_type="audio/flac", container="flac", codec="flac"),
        AudioFormat(name="m4a", content_type="audio/mp4", container="ipod", codec="aac"),
        AudioFormat(
            name="opus",
            content_type="audio/ogg",
            container="ogg",
            codec="libopus",
            sample_rate=48_000,
            holds_mark=False,
        ),
        AudioFormat(name="pcm", content_type="audio/pcm", holds_mark=False),
    )
}


MARKABLE = {each.content_type for each in FORMATS.values() if each.holds_mark}


def container_of(audio: bytes) -> str | None:
    """The type of a file that may hold a mark, by its first bytes."""
    if audio[:4] == b"RIFF" and audio[8:12] == b"WAVE":
        return "audio/wav"
    if audio[:4] == b"fLaC":
        return "audio/flac"
    if audio[4:8] == b"ftyp":
        return "audio/mp4"
    if audio[:3] == b"ID3" or (audio[:1] == b"\xff" and len(audio) > 1 and audio[1] & 0xE6 == 0xE2):
        return "audio/mpeg"
    return None
