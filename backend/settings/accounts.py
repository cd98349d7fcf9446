"""The account at a provider: by the name that the settings give it, or by a fingerprint of its key."""

import hashlib
import re
from collections.abc import Iterator

FINGERPRINT_LENGTH = 12  # hexadecimal digits, which no key is found by
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def fingerprint(provider: str, *secrets: str) -> str:
    digest = hashlib.sha256("\n".join(("likeness account", provider, *secrets)).encode())
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def given_names(setting: str) -> list[str]:
    return [name.strip() for name in setting.split(",") if name.strip()]


def account_names(setting: str, provider: str, *secrets: str) -> tuple[str, ...]:
    """Every name of the account; new voices get the first. The present key's fingerprint is always one."""
    return tuple(dict.fromkeys([*given_names(setting), fingerprint(provider, *secrets)]))


def account_problems(name: str, setting: str, key: str) -> Iterator[str]:
    for given in given_names(setting):
        if not _NAME.fullmatch(given):
            yield f"{name} has a name that is not 1 to 64 letters, digits, dots, hyphens or underscores"
        elif given == key or given.startswith(("sk-", "sk_")):
            yield f"{name} is stored with each voice: it must not be a key"
