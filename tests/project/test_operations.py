"""The dashboard, the alert rules and the table of metrics name what there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from backend.telemetry.measures import registry
from backend.web.metrics import HELP
from scripts.migrations import ROOT

FOLDER = ROOT / "docs" / "operations"
NAME = re.compile(r"likeness_[a-z_]+")


def exposed() -> set[str]:
    """Each name as it is scraped, with the series of histograms."""
    names = {"likeness_database_up", *HELP}
    for metric in registry.collect():
        if metric.type == "counter":
            names.add(f"{metric.name}_total")
        else:
            names |= {metric.name, f"{metric.name}_bucket", f"{metric.name}_count", f"{metric.name}_sum"}
    return names


def families() -> set[str]:
    return {name for name in exposed() if not re.search(r"_(bucket|count|sum)$", name)}


def alerts() -> list[dict[str, Any]]:
    (group,) = YAML(typ="safe").load((FOLDER / "alerts.yaml").read_text())["groups"]
    return group["rules"]


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    shown = {name for panel in panels for target in panel["targets"] for name in NAME.findall(target["expr"])}
    assert len(panels) > 10
    assert shown <= exposed(), shown - exposed()
    families = {
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in exposed()
    }
    assert {name.removesuffix("_bucket") for name in shown} == families, "each metric has a panel"


def test_each_alert_names_a_metric_and_a_runbook() -> None:
    for alert in alerts():
        names = set(NAME.findall(alert["expr"]))
        assert names, alert
        assert names <= exposed(), (alert["alert"], names - exposed())
        assert (ROOT / alert["annotations"]["runbook"]).is_file(), alert
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"].endswith(".")


def promtool() -> Path | None:
    """From Debian's prometheus, as .ci/run fetches it, or the one that is installed."""
    fetched = ROOT / ".local" / "bin" / "promtool"
    installed = shutil.which("promtool")
    return fetched if fetched.is_file() else Path(installed) if installed else None


@pytest.mark.skipif(promtool() is None, reason="promtool is not installed: .ci/run fetches it")
def test_each_alert_fires_when_it_should_and_not_before() -> None:
    found = promtool()
    assert found is not None
    for what in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        done = subprocess.run([found, *what], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tests = [case["alert_rule_test"] for case in YAML(typ="safe").load(FOLDER / "alerts.test.yaml")["tests"]]
    expected = {alert["alert"]: [False, True] for alert in alerts()}
    assert {cases[0]["alertname"]: [bool(c["exp_alerts"]) for c in cases] for cases in tests} == expected


def test_the_table_of_metrics_is_complete() -> None:
    rows = re.findall(r"^\| `(likeness_\w+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert set(rows) == families()
