"""The reference of all metrics, as a page of Markdown."""

from __future__ import annotations

from prometheus_client.core import Metric

from computegrid.metrics.counters import Metrics
from computegrid.metrics.gauges import StateCollector
from computegrid.state.tables import Tables


def reference() -> str:
    """Return the reference of all metrics as Markdown."""
    metrics = Metrics()
    metrics.registry.register(StateCollector(Tables(), list, list))
    lines = [
        "# Metrics",
        "",
        "Generated from `computegrid.metrics`; `make generate` writes it.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    rows = [_row(family, metrics) for family in metrics.registry.collect()]
    return "\n".join(lines + sorted(rows)) + "\n"


def _row(family: Metric, metrics: Metrics) -> str:
    own = [m for m in vars(metrics).values() if getattr(m, "_name", None) == family.name]
    names = getattr(own[0], "_labelnames", ()) if own else getattr(family, "_labelnames", ())
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return f"| `{family.name}{suffix}` | {family.type} | {', '.join(names) or '-'} | {family.documentation} |"
