"""The reference of the five kinds as Markdown, from the same schemas as the CRDs.

``python -m computegrid.api.reference docs/api.md`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from computegrid.api.base import Definition, Resource
from computegrid.api.crd import KINDS, custom_resource_definition
from computegrid.api.labels import API_VERSION, CATEGORY

_ABOUT: Final = f"""\
# API

Generated from the models in `operator/computegrid/api`; `make generate` writes it. The same text is in
`kubectl explain`.

All kinds are of the version `{API_VERSION}` and in the category `{CATEGORY}`:
`kubectl get {CATEGORY} --all-namespaces` lists them. A field may be left out unless it is **required**.
In a path, `[]` is an item of a list and `*` a key of a map.
"""
_RULES: Final = "x-kubernetes-validations"
_HIDDEN: Final = frozenset({"apiVersion", "kind", "metadata"})


class Field(NamedTuple):
    """One field below `spec` or `status`."""

    path: str
    schema: dict[str, Any]
    required: bool


def reference() -> str:
    """Return the whole page."""
    links = ", ".join(f"[{kind.definition.kind}](#{kind.definition.kind.lower()})" for kind in KINDS)
    return "\n".join([_ABOUT, f"Kinds: {links}.\n", *(_kind(kind) for kind in KINDS)])


def fields(schema: dict[str, Any], path: str) -> Iterator[Field]:
    """Yield every field below a schema, parents first, in the order of the models."""
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        own = f"{path}.{name}"
        yield Field(own, child, name in required)
        yield from fields(child, own)
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from fields(schema["additionalProperties"], f"{path}.*")


def _kind(kind: type[Resource]) -> str:
    definition = kind.definition
    version = custom_resource_definition(kind)["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [f"## {definition.kind}", "", schema["description"], "", _facts(definition), ""]
    for name, part in schema["properties"].items():
        if name in _HIDDEN:
            continue
        parts += [f"### {definition.kind} `{name}`", "", part["description"], ""]
        parts += ["| field | type | meaning |", "|---|---|---|"]
        parts += [_row(field, name) for field in fields(part, name)]
        parts += ["", *_rules(part, name)]
    return "\n".join(parts)


def _facts(definition: Definition) -> str:
    scope = "a namespace" if definition.scope == "Namespaced" else "the cluster"
    columns = ", ".join(f"{c.name}{' (wide)' if c.wide else ''}" for c in definition.columns)
    about = f"Belongs to {scope}; its short name is `{definition.short}`. Columns: {columns}."
    return f"{about} The name: {definition.name_note[0].lower()}{definition.name_note[1:]}"


def _row(field: Field, root: str) -> str:
    schema = field.schema
    said = [schema.get("description", "")]
    if schema.get("enum"):
        said.append("One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".")
    if "default" in schema and schema["default"] not in ({}, []):
        said.append(f"Default: `{_plain(schema['default'])}`.")
    bounds = _bounds(schema)
    if bounds:
        said.append(f"{bounds}.")
    mark = "**required** " if field.required else ""
    text = " ".join(said).replace("|", "\\|")
    return f"| `{field.path.removeprefix(f'{root}.')}` | {mark}{_type(schema)} | {text} |"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}s"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}s"
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    return "time" if schema.get("format") == "date-time" else str(schema.get("type", "object"))


def _bounds(schema: dict[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema and schema["maximum"] < 2**31 - 1:
        return f"From {schema['minimum']} to {schema['maximum']}"
    if "maxItems" in schema:
        return f"At most {schema['maxItems']}"
    return ""


def _rules(schema: dict[str, Any], path: str) -> list[str]:
    """Return the rules between fields, which a table of fields cannot show."""
    found = [(path, rule) for rule in schema.get(_RULES, ())]
    found += [(field.path, rule) for field in fields(schema, path) for rule in _rules_of(field)]
    if not found:
        return []
    lines = [f"- `{where}`: {rule['message']}" for where, rule in found]
    return ["Rules that the API server checks besides:", "", *dict.fromkeys(lines), ""]


def _rules_of(field: Field) -> list[dict[str, Any]]:
    own = list(field.schema.get(_RULES, ()))
    return own + list(field.schema.get("items", {}).get(_RULES, ()))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
