"""Writes the README of the chart: `readme.md.in` with a table of every setting and every value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charts.comments import Documented

_PIPE = r"\|"
TEMPLATE = Path(__file__).parent / "readme.md.in"


def readme(values: Sequence[Documented], settings: dict[str, Any]) -> str:
    """Return the README; `settings` is the JSON schema of `operator.settings`."""
    properties = sorted(settings["properties"].items())
    tables = {
        "settings": _table(
            ("setting", "allowed", "operator's default", "meaning"),
            [(f"`{name}`", _allowed(s), _code(s.get("default")), s["description"]) for name, s in properties],
        ),
        "values": _table(
            ("key", "default", "meaning"), [(f"`{v.path}`", f"`{v.default}`", v.text) for v in values]
        ),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, table in tables.items():
        text = text.replace(f"{{{name}}}", table)
    return text


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    return str(schema.get("type", "any"))


def _code(default: Any) -> str:
    if default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', _PIPE) for cell in row)} |" for row in lines)
