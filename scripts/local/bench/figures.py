"""The output of a benchmark: each figure beside a floor that was measured in the same run."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

ROUNDS = 3  # of a measure whose middle one counts


class Figure(Struct, frozen=True, kw_only=True):
    """`ratio` is value over floor; `aim` bounds the ratio or the value, as it says."""

    name: str
    value: float
    unit: str
    floor: float | None
    ratio: float | None
    aim: str
    met: bool


def against_floor(
    name: str, value: float, unit: str, floor: float, *, at_least: float = 0, at_most: float = 0
) -> Figure:
    """The aim is on the ratio."""
    ratio = value / floor
    met = ratio >= at_least if at_least else ratio <= at_most
    aim = f"ratio ≥ {at_least:g}" if at_least else f"ratio ≤ {at_most:g}"
    return Figure(name=name, value=value, unit=unit, floor=floor, ratio=ratio, aim=aim, met=met)


def at_least(name: str, value: float, unit: str, aim: float, floor: float | None = None) -> Figure:
    """The aim is on the value; the floor is what the parts alone reach here."""
    ratio = None if floor is None else value / floor
    return Figure(
        name=name, value=value, unit=unit, floor=floor, ratio=ratio, aim=f"≥ {aim:g} {unit}", met=value >= aim
    )


def at_most(name: str, value: float, unit: str, aim: float, floor: float | None = None) -> Figure:
    ratio = None if floor is None else value / floor
    return Figure(
        name=name, value=value, unit=unit, floor=floor, ratio=ratio, aim=f"≤ {aim:g} {unit}", met=value <= aim
    )


def part(name: str, value: float, unit: str) -> Figure:
    """One of those that a figure is the sum of; it has no aim of its own."""
    return Figure(name=name, value=value, unit=unit, floor=None, ratio=None, aim="", met=True)


def slower(before: Figure, after: Figure, *, higher_is_better: bool) -> Figure:
    """The same figure in a full database: how many times slower it got."""
    ratio = before.value / after.value if higher_is_better else after.value / before.value
    return Figure(
        name=f"{after.name}, full database",
        value=after.value,
        unit=after.unit,
        floor=before.value,
        ratio=ratio,
        aim="≤ 1.5 × slower",
        met=ratio <= 1.5,
    )


def middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def show(figure: Figure) -> None:
    floor = "" if figure.floor is None else f"floor {figure.floor:,.2f}"
    ratio = "" if figure.ratio is None else f"ratio {figure.ratio:.2f}"
    mark = "" if not figure.aim else "met" if figure.met else "MISSED"
    what = f"{figure.name:<52} {figure.value:>12,.2f} {figure.unit:<13}"
    sys.stdout.write(f"{what} {floor:>18} {ratio:>11}  {figure.aim:<22} {mark}\n")
    sys.stdout.flush()


def write(figures: list[Figure], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
