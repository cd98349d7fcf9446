"""Named SQL. A file holds blocks: `-- name --`, one comment line that says why, the statement."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

BLOCK = re.compile(r"^-- (?P<name>[a-z][a-z0-9_]*) --\n-- (?P<why>\S.*)\n", re.MULTILINE)


class Queries:
    """The statements of one file, each an attribute."""

    def __init__(self, source: Path) -> None:
        head, *blocks = BLOCK.split(source.read_text())
        self._source = source.name
        self._statements = {name: sql.strip() for name, sql in zip(blocks[::3], blocks[2::3], strict=True)}
        if head.strip() or re.search(r"^-- \w+ --$", "\n".join(blocks[2::3]), re.MULTILINE):
            raise ValueError(f"{source}: each statement starts with `-- name --` and a line that says why")

    def __getattr__(self, name: str) -> LiteralString:
        try:
            return cast(LiteralString, self._statements[name])  # our own files, never user input
        except KeyError:
            raise AttributeError(f"{self._source} has no query named {name}") from None


def load_queries(module_file: str) -> Queries:
    """`load_queries(__file__)` reads the .sql file of the module's name, or its package's queries.sql."""
    own = Path(module_file).with_suffix(".sql")
    return read_queries(own if own.exists() else own.with_name("queries.sql"))


@cache
def read_queries(source: Path) -> Queries:
    """The modules of a package share its queries.sql, which is read once."""
    return Queries(source)
