"""The first bytes of the formats that samples are sent in."""

HEAD_BYTES = 16  # of a file, that are enough to tell its format
MAGIC = (  # offset, bytes, content type
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1a\x45\xdf\xa3", "audio/webm"),
    (4, b"ftyp", "audio/mp4"),
)
MP3_LAYERS = 0x06  # of the second byte of a frame; 0 there is AAC


def wav_or_mp3(head: bytes) -> str | None:
    """The content type of a file that begins so; None where it is neither WAV nor MP3."""
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return "audio/wav"
    is_frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & MP3_LAYERS != 0
    return "audio/mpeg" if head[:3] == b"ID3" or is_frame else None


def audio_format(head: bytes) -> str | None:
    """The content type of a file that begins so; None where it is of no format that can be cloned."""
    found = (kind for at, magic, kind in MAGIC if head[at : at + len(magic)] == magic)
    return wav_or_mp3(head) or next(found, None)
