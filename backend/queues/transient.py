"""Which errors of Postgres the runtime waits out."""

import psycopg


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same statement may succeed soon: an outage, a deadlock, too many connections."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "40", "53", "57P"))
