"""Which errors of Postgres the runtime waits out."""

import psycopg


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same statement may succeed soon: an outage, a deadlock, a timeout, too many connections."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(("08", "25P0", "40", "53", "55P03", "57P", "57014"))
