"""Sections: groups of settings, read from environment variables. Every fault is reported at once."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeVar, get_args
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta, Struct

PASSPHRASE_LENGTH = 32  # characters; HS256 secrets and the internal token

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]

SectionT = TypeVar("SectionT", bound="Section")


class SettingsError(Exception):
    """The settings cannot work; `problems` lists every fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            "\n".join(["The settings cannot work:", *(f"  - {problem}" for problem in problems)])
        )
        self.problems = problems


class Section(Struct, frozen=True, kw_only=True):
    """Settings that belong together. `repr` shows no value, because some are secrets."""

    def problems(self) -> Iterator[str]:
        yield from ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def read_section(section: type[SectionT], environ: Mapping[str, str], problems: list[str]) -> SectionT | None:
    """The section; or None, with its faults added to `problems`. msgspec itself stops at the first fault."""
    values: dict[str, object] = {}
    faults: dict[str, str] = {}
    for setting in msgspec.structs.fields(section):
        name = setting.encode_name
        text = environ.get(name, "").strip()
        try:
            if text:
                values[setting.name] = msgspec.convert(text, setting.type, strict=False)
            elif setting.required:
                values[setting.name] = ""  # so that the other settings can still be checked
                faults[name] = f"{name} is missing"
        except msgspec.ValidationError as error:
            choices = (
                f"; one of {', '.join(map(str, get_args(setting.type)))}" if is_choice(setting.type) else ""
            )
            faults[name] = f"{name}: {error}{choices}"
    complete = section(**values)
    found = [problem for problem in complete.problems() if problem.split(" ", 1)[0] not in faults]
    problems += [*faults.values(), *found]
    return None if faults else complete


def sound_section(section: type[SectionT], environ: Mapping[str, str]) -> SectionT | None:
    """The section if it has no fault at all, so that what it names can be checked."""
    problems: list[str] = []
    complete = read_section(section, environ, problems)
    return None if problems else complete


def is_choice(kind: object) -> bool:
    return getattr(kind, "__origin__", None) is Literal


def derive(section: Section, **values: object) -> None:
    """Set values that follow from other settings. Only for `__post_init__`."""
    for name, value in values.items():
        msgspec.structs.force_setattr(section, name, value)


def url_problems(name: str, url: str) -> Iterator[str]:
    if not is_http_url(url):
        yield f"{name} is not an http(s) URL"


def is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def plain_base(url: str) -> SplitResult | None:
    """The parts of a base URL: http(s), a host, no user and no query; None for anything else."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if sound and not parts.username and not parts.query else None
