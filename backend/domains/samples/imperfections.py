"""What passes, and would be better otherwise."""

from collections.abc import Iterator

from backend.audio.inspection_frames import Inspection
from backend.domains.samples.refusals import MIN_SECONDS, Finding, below

GOOD_SECONDS = 5.0
GOOD_SNR_DB = 20.0
GOOD_CLIPPED_SHARE = 0.001
GOOD_DAMAGED_SHARE = 0.01
GOOD_ECHO_DB = 10.0
TONAL_SNR_DB = 25.0  # music that is quieter is not noticed
OTHER_SECONDS = 1.0
ONE_SPEAKER = 0.65  # similarity of the most different parts
GOOD_DC_OFFSET = 0.01


def imperfections(seen: Inspection) -> Iterator[Finding]:
    yield from _recording(seen)
    if seen.voiced_seconds > 0:
        yield from _behind_the_speech(seen)
    yield from _channels(seen)


def _recording(seen: Inspection) -> Iterator[Finding]:
    if seen.seconds >= MIN_SECONDS and seen.prepared_seconds < GOOD_SECONDS:
        yield Finding(
            code="sample_short",
            message=f"short sample: {below(seen.prepared_seconds)} s; a voice sounds closer with "
            f"{GOOD_SECONDS:g} s or more",
            field="prepared_seconds",
            measured=seen.prepared_seconds,
            required=GOOD_SECONDS,
            help="Speak for longer.",
        )
    if seen.clipped_share > GOOD_CLIPPED_SHARE:
        yield Finding(
            code="sample_clipped",
            message=f"some of the sample is clipped: {seen.clipped_share:.1%} of it",
            field="clipped_share",
            measured=seen.clipped_share,
            required=GOOD_CLIPPED_SHARE,
            help="Record at a lower level.",
        )
    if seen.damaged_share > GOOD_DAMAGED_SHARE:
        yield Finding(
            code="sample_damaged",
            message=f"some of the sample is damaged: {seen.damaged_share:.1%} of it",
            field="damaged_share",
            measured=seen.damaged_share,
            required=GOOD_DAMAGED_SHARE,
            help="Save or upload the file again, from the original recording.",
        )


def _behind_the_speech(seen: Inspection) -> Iterator[Finding]:
    if seen.snr_db is not None and seen.snr_db < GOOD_SNR_DB:
        yield Finding(
            code="sample_noisy",
            message=f"the sample is noisy: speech is {seen.snr_db:g} dB above the noise, better "
            f"{GOOD_SNR_DB:g} dB",
            field="snr_db",
            measured=seen.snr_db,
            required=GOOD_SNR_DB,
            help="Record in a quieter place.",
        )
    if seen.echo_db is not None and seen.echo_db < GOOD_ECHO_DB:
        yield Finding(
            code="sample_echo",
            message=f"the room has a strong echo: speech is {seen.echo_db:g} dB above it, better "
            f"{GOOD_ECHO_DB:g} dB",
            field="echo_db",
            measured=seen.echo_db,
            required=GOOD_ECHO_DB,
            help="Record closer to the microphone, in a room with carpets or curtains.",
        )
    if seen.speaker_similarity is not None and seen.speaker_similarity < ONE_SPEAKER:
        yield Finding(
            code="sample_two_speakers",
            message="more than one person seems to speak in the sample",
            field="speaker_similarity",
            measured=seen.speaker_similarity,
            required=ONE_SPEAKER,
            help="Record one person alone, whose voice it is.",
        )
    if seen.other_sound_seconds >= OTHER_SECONDS:
        yield _music(
            f"{below(seen.other_sound_seconds)} s of the sample sound and are no speech, such as music",
            "other_sound_seconds",
            seen.other_sound_seconds,
            OTHER_SECONDS,
        )
    elif seen.tonal_noise and seen.echo_db is None and (seen.snr_db or 0.0) < TONAL_SNR_DB:
        yield _music(
            f"music or another tone sounds behind the speech, {seen.snr_db:g} dB below it",
            "snr_db",
            seen.snr_db,
            TONAL_SNR_DB,
        )


def _music(message: str, field: str, measured: float | None, required: float) -> Finding:
    return Finding(
        code="sample_music",
        message=message,
        field=field,
        measured=measured,
        required=required,
        help="Record speech alone, without music.",
    )


def _channels(seen: Inspection) -> Iterator[Finding]:
    done = seen.cleaning
    if abs(done.dc_offset) > GOOD_DC_OFFSET:
        yield Finding(
            code="sample_dc_offset",
            message=f"the recording has a DC offset of {done.dc_offset:.0%} of full scale; it was removed",
            field="dc_offset",
            measured=done.dc_offset,
            required=GOOD_DC_OFFSET,
            help="Check the microphone's input, or record with another device.",
        )
    if done.inverted_channels:
        yield Finding(
            code="sample_channel_inverted",
            message="one channel of the recording is the inverse of another; it was turned over",
            field="inverted_channels",
            measured=done.inverted_channels,
            required=0,
            help="Check the cable or the polarity switch of the microphone, or record one channel.",
        )
    if done.dead_channels:
        yield Finding(
            code="sample_channel_silent",
            message=f"{done.dead_channels} of {seen.channels} channels are silent; the others were taken",
            field="dead_channels",
            measured=done.dead_channels,
            required=0,
            help="Record one channel, or check the other microphone.",
        )
