"""Voice slots: how many voices each provider may hold. The database stores the limit and reserves the slots.

A setting takes precedence; else the account's limit, less the voices that other clients of the account hold;
else the provider's general limit. Opening an upload needs no request to the provider.
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
    """Runs forever: an account's plan may change, and other clients may use its slots."""
    while True:
        stored = [await store_slots(context, provider) for provider in context.providers.values()]
        await asyncio.sleep(REFRESH_SECONDS if all(stored) else RETRY_SECONDS)


async def store_slots(context: AppContext, provider: VoiceProvider) -> bool:
    """False where the provider or the database did not answer; the stored limit then stays."""
    try:
        where = place(provider)
        slots = await slots_of(context, provider)
        await context.database.steps.execute(queries.set_slots, {**where, "slots": slots})
    except (ProviderError, AppError) as error:
        log.warning("slots_unknown", provider=provider.name, error=str(error))
        return False
    return True


async def slots_of(context: AppContext, provider: VoiceProvider) -> int | None:
    """None where there is no limit, or it is unknown."""
    setting = context.settings.providers.voice_slots.get(provider.name)
    if setting is not None:
        return setting or None
    account = await provider.slots()
    if account is None:
        return provider.limits.slots
    parameters = {**place(provider), "limit": account.used}
    held = await context.database.reads.fetch_value(queries.count_enrolled_voices, parameters, of=int)
    return max(0, account.allowed - (account.used - (held or 0)))


def place(provider: VoiceProvider) -> dict[str, object]:
    return {
        "provider": provider.name,
        "region": provider.region or "",
        "accounts": list(provider.accounts),
    }


def name_alternatives(context: AppContext, error: Conflict, full: str) -> Conflict:
    """The same error; where no slot is left, with the providers that may have one."""
    others = sorted(set(context.providers) - {full})
    if error.code == "provider_full" and others:
        error.extra = {**error.extra, "alternatives": others}
        error.help = f"{error.help} Another provider may have room: {', '.join(others)}."
    return error
