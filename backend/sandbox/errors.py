"""How a job in the sandbox refuses its input."""

from typing import Any


class InputRefused(Exception):  # noqa: N818 - the input is at fault, not the job
    """The input cannot be used.

    `code` is stable (snake_case), `message` is written for the user, `details` are measures (JSON-able).
    """

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
