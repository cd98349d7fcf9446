"""The same as attacker.py, of a module whose jobs may start processes."""

from tests.backend.attacker import handle

__all__ = ["MAY_FORK", "handle"]

MAY_FORK = True
