"""Says once, at start, how many voices this service cannot speak with, because of where they are."""

from collections import Counter

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.providers.base import ProviderError
from backend.providers.places import find_provider
from backend.web.logs import log

queries = load_queries(__file__)


class PlaceRow(Struct, frozen=True, kw_only=True):
    provider: str
    region: str
    account: str
    voices: int


async def report_misplaced_voices(context: AppContext) -> None:
    """One line for each provider and reason. Their users, or the operator, can move them."""
    found: Counter[tuple[str, str]] = Counter()
    for row in await context.database.reads.fetch_all(queries.by_place, {}, row=PlaceRow):
        try:
            find_provider(context.providers, row.provider, row.region, row.account)
        except ProviderError as error:
            found[row.provider, error.code] += row.voices
    for (provider, reason), voices in sorted(found.items()):
        log.warning("voices_misplaced", provider=provider, reason=reason, voices=voices)
