"""What the migrations create by a name of their own, read from their text."""

import re
from functools import cache

from backend.storage.buckets import BUCKETS
from scripts.migrations import MIGRATIONS

TABLE = re.compile(r"^create table public\.(\w+)", re.MULTILINE)  # indented: only where there is none
FUNCTION = re.compile(r"^create (?:or replace )?function ((?:operations|public)\.\w+)", re.MULTILINE)
POLICY = re.compile(r'^\s*create policy "([^"]+)" on (?:storage\.objects|realtime\.messages)', re.MULTILINE)
MIRROR_KEYS = [
    *("cloneStatus", "runtimeStatus", "previewStatus", "previewRequired", "attemptId", "voiceId"),
    *("provider", "targetModel", "error", "version", "updatedAt"),
]


@cache
def text() -> str:
    return "\n".join(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql")))


def names() -> dict[str, list[str]]:
    """The parameters of the queries."""
    files = [path.stem.partition("_") for path in sorted(MIGRATIONS.glob("*.sql"))]
    return {
        "tables": TABLE.findall(text()),
        "functions": FUNCTION.findall(text()),
        "policies": POLICY.findall(text()),
        "buckets": list(BUCKETS),
        "keys": MIRROR_KEYS,
        "versions": [version for version, _, _ in files],
        "names": [name for _, _, name in files],
    }
