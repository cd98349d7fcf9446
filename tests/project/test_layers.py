"""CONTRIBUTING's drawing of the layers against the contracts that `make lint` checks."""

import re
import tomllib

from scripts.migrations import ROOT


def test_contributing_draws_the_layers_of_the_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {each["containers"][0]: each["layers"] for each in contracts if "containers" in each}
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawing = re.search(r"```\ntests\n.*?```", text, re.DOTALL)
    assert drawing is not None
    drawn: dict[str, list[str]] = {}
    inside = ""
    for line in drawing.group().splitlines()[1:-1]:
        head, body = line[:20].strip(), line[20:].strip()
        inside = head or inside
        drawn.setdefault(inside, []).append(re.sub(r" +", " | ", body))
    assert {name: drawn[name] for name in layers} == {
        name: [each for each in rows if each != "__main__"] for name, rows in layers.items()
    }
