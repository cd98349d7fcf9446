"""How many voices may be kept at each provider, told to the database, which reserves them (slots.sql).

A setting comes first; else what the provider's account says, less what others keep in it; else the provider's
own limit for everyone. The database remembers it, so that opening an upload asks no provider.
"""

import asyncio
from typing import Never

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import AppError, Conflict
from backend.providers.base import ProviderError, VoiceProvider
from backend.web.logs import log

queries = load_queries(__file__)
REFRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0


async def keep_slots(context: AppContext) -> Never:
    """Again and again: an account's plan may change, and others may fill it."""
    while True:
        told = [await tell_slots(context, provider) for provider in context.providers.values()]
        await asyncio.sleep(REFRESH_SECONDS if all(told) else RETRY_SECONDS)


async def tell_slots(context: AppContext, provider: VoiceProvider) -> bool:
    """False where the provider or the database could not answer; what was known before stays known."""
    try:
        where = {"provider": provider.name, "region": provider.region or ""}
        slots = await slots_of(context, provider)
        await context.database.execute(queries.set_slots, {**where, "slots": slots})
    except (ProviderError, AppError) as error:
        log.warning("slots_unknown", provider=provider.name, error=str(error))
        return False
    return True


async def slots_of(context: AppContext, provider: VoiceProvider) -> int | None:
    """None where there is no limit, or only the provider knows it."""
    setting = context.settings.providers.voice_slots.get(provider.name)
    if setting is not None:
        return setting or None
    account = await provider.slots()
    if account is None:
        return provider.limits.slots
    parameters = {"provider": provider.name, "region": provider.region or "", "limit": account.used}
    held = await context.database.fetch_value(queries.voices_held, parameters, of=int)
    return max(0, account.allowed - (account.used - (held or 0)))


def name_alternatives(context: AppContext, error: Conflict, full: str) -> Conflict:
    """The same refusal; where no slot is left, with the providers that may have one."""
    others = sorted(set(context.providers) - {full})
    if error.code == "provider_full" and others:
        error.extra = {**error.extra, "alternatives": others}
        error.help = f"{error.help} Another provider may have room: {', '.join(others)}."
    return error
