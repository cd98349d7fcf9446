"""Settings of the connections to Postgres."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from backend.settings.sections import Count, Seconds, Section

ADMIN_ROLES = frozenset({"postgres", "supabase_admin"})


class DatabaseSettings(Section, frozen=True, kw_only=True):
    url: str = field(name="DATABASE_URL")
    # LISTEN needs a session: a direct address, if DATABASE_URL is that of a transaction pooler
    listen_url: str = field(name="LISTEN_DATABASE_URL", default="")
    pool_size: Count = field(name="DATABASE_POOL_SIZE", default=16)
    timeout: Seconds = field(name="DATABASE_TIMEOUT_SECONDS", default=2.0)  # to get a connection
    # what the server cancels: a statement, or an idle transaction; the wait for one locked row
    statement_timeout: Seconds = field(name="DATABASE_STATEMENT_TIMEOUT_SECONDS", default=15.0)
    lock_timeout: Seconds = field(name="DATABASE_LOCK_TIMEOUT_SECONDS", default=2.0)
    # None for a transaction pooler; a number prepares a statement after that many uses
    prepare_threshold: Annotated[int, Meta(ge=0)] | None = field(
        name="DATABASE_PREPARE_THRESHOLD", default=None
    )

    def problems(self) -> Iterator[str]:
        try:
            user = conninfo_to_dict(self.url).get("user")
        except ProgrammingError:
            yield "DATABASE_URL is not a Postgres connection string"
            return
        if str(user).split(".")[0] in ADMIN_ROLES:
            yield f"DATABASE_URL logs in as {user}, an owner; use voice_clone_service, which owns nothing"
