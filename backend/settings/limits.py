"""Settings of the rate limits. 0 means no limit."""

from typing import Annotated

from msgspec import Meta, field

from backend.settings.sections import Section

Limit = Annotated[int, Meta(ge=0)]


class LimitSettings(Section, frozen=True, kw_only=True):
    """Of one user and a minute, if not said otherwise."""

    requests: Limit = field(name="RATE_LIMIT_REQUESTS", default=1200)
    uploads: Limit = field(name="RATE_LIMIT_UPLOADS", default=60)
    finalizations: Limit = field(name="RATE_LIMIT_FINALIZATIONS", default=60)
    previews: Limit = field(name="RATE_LIMIT_PREVIEWS", default=30)
    speech: Limit = field(name="RATE_LIMIT_SPEECH", default=60)
    characters: Limit = field(name="SPEECH_CHARACTERS_PER_DAY", default=100_000)
    verifications: Limit = field(name="RATE_LIMIT_VERIFICATIONS", default=120)  # of one address
    # sentences, and recordings of them
    spoken_consents: Limit = field(name="RATE_LIMIT_SPOKEN_CONSENTS", default=10)
    refusals: Limit = field(
        name="RATE_LIMIT_REFUSALS", default=60
    )  # requests of an address with a refused token
    sign_ins: Limit = field(
        name="RATE_LIMIT_SIGN_INS", default=30
    )  # refused, of one address, at /operations; of all where addresses are not known
    client_address: str = field(name="CLIENT_ADDRESS", default="")  # "peer", or the header of a proxy
