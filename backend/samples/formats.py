"""The first bytes of the formats that samples are sent in."""

MP3_LAYERS = 0x06  # of the second byte of a frame; 0 there is AAC


def wav_or_mp3(head: bytes) -> str | None:
    """The content type of a file that begins so; None where it is neither WAV nor MP3."""
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return "audio/wav"
    is_frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & MP3_LAYERS != 0
    return "audio/mpeg" if head[:3] == b"ID3" or is_frame else None
