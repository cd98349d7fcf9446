"""The providers: one harmless call each, which needs the key, the region and the address."""

from collections.abc import Iterator

from backend.checks.findings import Finding, good
from backend.providers.base import ErrorKind, ProviderError, VoiceProvider
from backend.providers.reference.adapter import Reference
from backend.settings import Settings
from backend.web.upstreams import Upstreams
from scripts.reconcile.providers import configured_providers

MISCONFIGURED = "Compare key, region and address with the account: .env.example names the settings {name}_…"


async def check_providers(settings: Settings) -> list[Finding]:
    upstreams = Upstreams()
    local, remote = configured_providers(settings.supabase, settings.providers, upstreams)
    default = settings.providers.voice_provider
    async with upstreams:
        try:
            found = [await check_provider(provider) for provider in remote.values()]
            found += how_samples_go(settings)
        finally:
            await local.aclose()
    return [*found, *missing_default(default, {local.name, *remote})]


def how_samples_go(settings: Settings) -> Iterator[Finding]:
    """Where a provider cannot fetch from Storage, the call carries the sample."""
    qwen = settings.providers.qwen
    if qwen and qwen.send_sample_as == "data_url":
        project = settings.supabase.url
        yield good("provider qwen", f"gets each sample inside of the call: it cannot reach {project}")


def missing_default(default: str, configured: set[str]) -> Iterator[Finding]:
    if default not in configured:
        yield Finding(
            part=f"provider {default}",
            found="VOICE_PROVIDER names it, and it is not set up",
            remedy=f"Set {default.upper()}_API_KEY or {default.upper()}_URL, or another VOICE_PROVIDER",
        )


async def check_provider(provider: VoiceProvider) -> Finding:
    part = f"provider {provider.name}"
    try:
        if isinstance(provider, Reference):
            await provider.require_model()
        else:
            async for _ in provider.list():
                break
    except ProviderError as error:
        told = f"HTTP {error.status}, {error.provider_code}" if error.status else "no answer"
        mine = error.kind is ErrorKind.MISCONFIGURED
        return Finding(
            part=part,
            found=f"{error.code} ({told}){f' in {provider.region}' if provider.region else ''}",
            remedy=MISCONFIGURED.format(name=provider.name.upper()) if mine else "Try again later",
        )
    return good(part, f"the key is accepted{f' in {provider.region}' if provider.region else ''}")
