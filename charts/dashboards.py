"""Lays out the Grafana dashboards from the panels in `dashboards.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

PANELS = Path(__file__).parent / "dashboards.yaml"
GRID_WIDTH = 24
SIZES = {"timeseries": (8, 8), "stat": (4, 4)}
"""Usual width and height of a panel by its kind, in units of Grafana's grid."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboards() -> dict[str, Json]:
    """Return all dashboards by file name."""
    described = yaml.safe_load(PANELS.read_text(encoding="utf-8"))
    return {f"computegrid-{name}": _dashboard(name, dashboard) for name, dashboard in described.items()}


def _dashboard(name: str, described: Json) -> Json:
    variables = [_variable(variable, metric) for variable, metric in described["variables"].items()]
    return {
        "uid": f"computegrid-{name}",
        "title": f"ComputeGrid / {name.capitalize()}",
        "tags": ["computegrid"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source_variable(), *variables]},
        "panels": _laid_out(described["rows"]),
    }


def _laid_out(rows: list[Json]) -> list[Json]:
    """Place the panels from left to right; a panel that does not fit starts a new line."""
    panels: list[Json] = []
    y = 0
    for row in rows:
        panels.append(_title(row["title"], len(panels) + 1, y))
        x, y, height = 0, y + 1, 0
        for panel in row["panels"]:
            usual_width, height = SIZES[panel.get("kind", "timeseries")]
            width = panel.get("width", usual_width)
            if x + width > GRID_WIDTH:
                x, y = 0, y + height
            panels.append(_panel(panel, len(panels) + 1, {"x": x, "y": y, "w": width, "h": height}))
            x += width
        y += height
    return panels


def _title(text: str, number: int, y: int) -> Json:
    position = {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": text, "collapsed": False, "gridPos": position, "panels": []}


def _panel(panel: Json, number: int, position: Json) -> Json:
    kind = panel.get("kind", "timeseries")
    defaults: Json = {"unit": panel.get("unit", "short"), "min": 0}
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 20, "showPoints": "never"}
        if panel.get("stacked"):
            defaults["custom"]["stacking"] = {"mode": "normal", "group": "A"}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for index, (legend, expression) in enumerate(panel["queries"].items())
    ]
    return {
        "id": number,
        "type": kind,
        "title": panel["title"],
        "description": panel["description"],
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }


def _source_variable() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(name: str, metric: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
