"""Input against its type: every fault at once, each with its field, in the words of JSON."""

import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct, structs

from backend.errors import InvalidInput

FIELD = re.compile(r" - at `\$\.?(.*?)`$")
WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "bytes": "string"}
QUOTED = re.compile(r"`([^`]*)`")
BOUND = re.compile(r"(?:[<>]=?) (-?\d+(?:\.\d+)?)\.?$")  # as msgspec says it, at the end
MOST_FAULTS = 20


class Fault(Struct, frozen=True):
    field: str | None
    message: str


def require_valid(value: Any, kind: Any, *, is_form: bool = False) -> Any:
    """The value as `kind`. A form has only texts, so there a text may say a number. Raises InvalidInput."""
    try:
        return msgspec.convert(value, kind, strict=not is_form)
    except msgspec.ValidationError as error:
        found = list(faults(value, kind, is_form, ""))[:MOST_FAULTS] or [fault_of(error, "")]
        raise refused(found) from None


def refused(found: list[Fault]) -> InvalidInput:
    first = found[0]
    errors = [{"field": fault.field, "message": fault.message} for fault in found]
    extra = {"errors": errors, **limit_of(first.message)}
    return InvalidInput(first.message, field=first.field, extra=extra)


def limit_of(message: str | None) -> dict[str, float]:
    """`limit` of a value that is too long, too large or too small."""
    bound = BOUND.search(message or "")
    return {} if bound is None else {"limit": msgspec.json.decode(bound[1])}


def faults(value: Any, kind: Any, is_form: bool, path: str) -> Iterator[Fault]:
    struct = struct_of(kind)
    if struct is None or not isinstance(value, dict):
        try:
            msgspec.convert(value, kind, strict=not is_form)
        except msgspec.ValidationError as error:
            yield fault_of(error, path)
        return
    fields = {field.encode_name: field for field in structs.fields(struct)}
    for name, field in fields.items():
        if name in value:
            yield from faults(value[name], field.type, is_form, joined(path, name))
        elif field.required:
            yield Fault(joined(path, name), "This field is missing.")
    if struct.__struct_config__.forbid_unknown_fields:
        yield from (
            Fault(joined(path, name), "There is no such field.") for name in value if name not in fields
        )


def struct_of(kind: Any) -> type[Struct] | None:
    """Also of a struct that may be null."""
    choices = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    found = [each for each in choices if isinstance(each, type) and issubclass(each, Struct)]
    return found[0] if len(found) == 1 else None


def fault_of(error: msgspec.ValidationError, path: str) -> Fault:
    text = str(error)
    below = FIELD.search(text)
    return Fault(joined(path, below[1] if below else "") or None, in_words(FIELD.sub("", text)))


def in_words(message: str) -> str:
    """Without names of Python's types."""

    def say(match: re.Match[str]) -> str:
        return " or ".join(WORDS.get(part, part) for part in match[1].split(" | "))

    return f"{QUOTED.sub(say, message).rstrip('.')}."


def joined(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)
