"""What a check found."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "fault"]


class Finding(Struct, frozen=True, kw_only=True):
    """`remedy` is what to do about a fault or a warning. No secret is in it."""

    part: str
    state: State = "fault"
    found: str
    remedy: str = ""
    prevents_start: bool = False  # the process does not start: this fault does not pass by itself

    def __str__(self) -> str:
        return f"{self.part}: {self.found}. {self.remedy}".rstrip(" ")


def good(part: str, found: str) -> Finding:
    return Finding(part=part, state="ok", found=found)


Check = Callable[[], Iterable[Finding]]


def run_checks(checks: Sequence[Check]) -> list[Finding]:
    """All of them at the same time: the slowest of them waits for a server that does not answer."""
    if not checks:
        return []
    with ThreadPoolExecutor(max_workers=len(checks)) as threads:
        return [finding for found in threads.map(lambda check: list(check()), checks) for finding in found]
