"""An operation on a voice as one SQL statement, with the parameters of a situation."""

from typing import Any

from msgspec import Struct

Situation = dict[str, Any]  # the parameters of the operations


class Operation(Struct, frozen=True):
    """`role`: who runs it; the application's own statements are not the service's."""

    name: str
    sql: str
    states: tuple[str, ...] = ()  # of the newest attempt, in which it changes something; all where empty
    role: str = "voice_clone_service"


def call(function: str, arguments: str, *states: str, name: str | None = None) -> Operation:
    sql = f"select * from voice_clone.{function}({arguments})"  # noqa: S608 - our own text
    return Operation(name or function, sql, states)


def host(name: str, sql: str, *states: str, role: str = "postgres") -> Operation:
    """Of the application, or of an operator."""
    return Operation(name, sql, states, role)
