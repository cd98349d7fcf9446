"""What a mark says: made by Likeness, synthetic, by which provider and model, when. Nothing of a person."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

VERSION = "0.1.0"
GENERATOR = "Likeness"
TITLE = "Synthetic speech"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
ALGORITHMIC = f"{SOURCE_TYPES}algorithmicMedia"
WITHOUT_TRAINING = {"local"}  # providers whose voice is a formant synthesizer, adjusted to the sample


class Origin(Struct, frozen=True, kw_only=True):
    """Where the audio is from. `model` may be empty."""

    provider: str
    model: str


def tags(origin: Origin) -> dict[str, str]:
    """For containers that hold no manifest, and have a place for comments. Nobody signs them."""
    return {"title": TITLE, "encoded_by": GENERATOR, "comment": source_type(origin)}


def source_type(origin: Origin) -> str:
    return ALGORITHMIC if origin.provider in WITHOUT_TRAINING else TRAINED


def definition(origin: Origin, when: datetime | None = None) -> dict[str, Any]:
    """The manifest's definition, as C2PA's builder reads it."""
    made_at = (when or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    agent = {"name": origin.provider, **({"version": origin.model} if origin.model else {})}
    created = {
        "action": "c2pa.created",
        "when": made_at,
        "digitalSourceType": source_type(origin),
        "softwareAgent": agent,
    }
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": VERSION}],
        "title": TITLE,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
