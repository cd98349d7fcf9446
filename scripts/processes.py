"""`likeness serve` and `likeness work`: the two processes of a deployment."""

from queue_consumers.__main__ import main as work

__all__ = ["serve", "work"]


def serve() -> None:
    """Serve HTTP until SIGTERM or SIGINT, then finish the open requests.

    Needs: DATABASE_URL and the other settings of .env.example, from the environment or from a file .env
    in the current folder.

    Exit codes: 0 stopped by a signal; 1 a setting is missing or wrong, and the message names all of them.

    Example: likeness serve
    """
    from backend.app.server import main

    main()
