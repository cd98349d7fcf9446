"""A real voice provider in `demo` and `dev`: the one that is named, where its key is in the environment."""

from collections.abc import Mapping

from backend.settings.providers import ProviderName, ProviderSettings
from backend.settings.sections import read_section
from scripts.local.supabase.stack import StackError

KEYS: dict[ProviderName, str] = {
    "qwen": "QWEN_API_KEY",
    "elevenlabs": "ELEVENLABS_API_KEY",
    "cartesia": "CARTESIA_API_KEY",
    "pipecat": "PIPECAT_URL",
    "modal": "MODAL_URL",
}


def real_settings(
    provider: ProviderName, environ: Mapping[str, str], simulated: Mapping[str, str]
) -> dict[str, str]:
    """What replaces the simulator's settings of this provider; empty where there is no key for it.

    Raises:
        StackError: the key is there, and the settings beside it do not fit together.
    """
    if not environ.get(KEYS.get(provider, "")):
        return {}
    prefix = f"{provider.upper()}_"
    none_of_them = {name: "" for name in simulated if name.startswith(prefix)}
    found = none_of_them | {name: value for name, value in environ.items() if name.startswith(prefix)}
    problems: list[str] = []
    read_section(ProviderSettings, {**found, "VOICE_PROVIDER": provider}, problems)
    if problems:
        raise StackError("\n".join(problems))
    return found


def described(provider: ProviderName, *, is_real: bool) -> str:
    if provider == "local":
        return "local, on this machine: an acoustic match, never a likeness"
    if is_real:
        return f"{provider}, the real one: its calls are on your account"
    return f"{provider}, simulated; set {KEYS[provider]} to use the real one"
