"""Alerts and dashboards: they parse, do what they say, and speak of metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from charts.generate import CHART
from computegrid.metrics.reference import reference

RULES = CHART / "alerts" / "computegrid.yaml"
UNIT_TESTS = Path(__file__).parent / "alerts_test.yaml"
METRIC = re.compile(r"\bcomputegrid_[a-z_]+")


def alerts() -> list[dict]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> Iterator[dict]:
    for path in sorted((CHART / "dashboards").glob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))["panels"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def known_metrics() -> set[str]:
    """Every name that a scrape of the operator shows."""
    names: set[str] = set()
    for name, kind in re.findall(r"^\| `([a-z_]+)` \| (\w+) \|", reference(), re.MULTILINE):
        names |= (
            {f"{name}_{suffix}" for suffix in ("bucket", "count", "sum")} if kind == "histogram" else {name}
        )
    return names


def test_rules_are_valid(promtool: Path):
    subprocess.run([promtool, "check", "rules", "--lint-fatal", RULES], check=True)


def test_rules_fire_when_they_should(promtool: Path):
    done = subprocess.run(
        [promtool, "test", "rules", UNIT_TESTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test_and_says_what_to_do():
    cases = [
        case
        for test in yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert {alert["alert"] for alert in alerts()} == fired
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
        assert alert["annotations"]["runbook_url"].endswith(f"docs/alerts.md#{alert['alert'].lower()}")
        assert alert["for"]


def test_alerts_and_dashboards_use_metrics_that_exist():
    used = {name for alert in alerts() for name in METRIC.findall(alert["expr"])}
    used |= {name for expression in expressions() for name in METRIC.findall(expression)}
    assert used <= known_metrics()


def test_panels_parse(promtool: Path, tmp_path: Path):
    texts = [
        re.sub(r"\$(cluster|accelerator|queue)\b", ".*", expression.replace("$__rate_interval", "5m"))
        for expression in expressions()
    ]
    assert not [text for text in texts if "$" in text]
    rules = [
        {"record": f"panel:{number}:x".replace(":", "_"), "expr": text} for number, text in enumerate(texts)
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    subprocess.run([promtool, "check", "rules", path], check=True)


def test_panels_do_not_overlap():
    for path in sorted((CHART / "dashboards").glob("*.json")):
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            place = panel["gridPos"]
            cells = {
                (place["x"] + column, place["y"] + line)
                for column in range(place["w"])
                for line in range(place["h"])
            }
            assert not cells & taken, (path.name, panel["title"])
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_panels_explain_themselves():
    for panel in panels():
        assert panel["type"] == "row" or panel["description"].endswith(".")
