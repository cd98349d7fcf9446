"""Where a voice is: a provider, a region and an account. A step works only where its voice is.

A voice that is looked up in another region or account is not found there, which says nothing about the voice.
"""

from collections.abc import Mapping

from backend.providers.base import ErrorKind, ProviderError, VoiceProvider

NOT_CONFIGURED = ("provider_not_configured", "This voice provider is not set up here.")
REGION_CHANGED = (
    "provider_region_changed",
    "The voice is in another region of its provider than the one that is set up here.",
)
ACCOUNT_CHANGED = (
    "provider_account_changed",
    "The voice is in another account of its provider than the one that is set up here.",
)


def find_provider(
    providers: Mapping[str, VoiceProvider],
    name: str,
    region: str,
    account: str | None,
    *,
    region_is_known: bool = False,
) -> VoiceProvider:
    """The provider as it is set up here. Raises ProviderError where the voice is elsewhere.

    Null: nothing is at the provider yet. An empty account, or an empty region unless `region_is_known`, is
    that of an imported voice, which may be here.
    """
    provider = providers.get(name)
    if provider is None:
        raise misplaced(name, NOT_CONFIGURED)
    if region != (provider.region or "") and (region or region_is_known):
        raise misplaced(name, REGION_CHANGED)
    if account and account not in provider.accounts:
        raise misplaced(name, ACCOUNT_CHANGED)
    return provider


def is_here(providers: Mapping[str, VoiceProvider], name: str, region: str, account: str) -> bool:
    """Whether this service can speak with a voice that is there."""
    try:
        find_provider(providers, name, region, account)
    except ProviderError:
        return False
    return True


def misplaced(name: str, what: tuple[str, str]) -> ProviderError:
    code, message = what
    return ProviderError(ErrorKind.MISPLACED, code, message, provider=name)
