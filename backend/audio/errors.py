"""How looking at audio fails."""

from typing import Any


class AudioError(Exception):
    """The audio cannot be used, and why.

    `code` is stable (snake_case), `message` is written for the user, `details` are measures (JSON-able).
    """

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
