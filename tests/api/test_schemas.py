"""The CRDs are what the models say, documented and bounded throughout, and small enough for kubectl apply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from computegrid.api.base import Resource
from computegrid.api.crd import KINDS, custom_resource_definition, main, rendered

CRDS = Path(__file__).parents[2] / "crds"
Node = tuple[str, dict[str, Any]]


def nodes(schema: dict[str, Any], path: str) -> Iterator[Node]:
    """Every schema below a schema, with the path to it."""
    yield path, schema
    for name, property_schema in schema.get("properties", {}).items():
        yield from nodes(property_schema, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def all_nodes() -> list[Node]:
    """Every schema of every kind, but those of apiVersion, kind and metadata, which the server knows."""
    found: list[Node] = []
    for kind in KINDS:
        version = custom_resource_definition(kind)["spec"]["versions"][0]
        for part in ("spec", "status"):
            schema = version["schema"]["openAPIV3Schema"]["properties"][part]
            found += nodes(schema, f"{kind.definition.plural}.{part}")
    return found


NODES = all_nodes()


def test_the_files_are_what_the_models_say() -> None:
    assert main([str(CRDS), "--check"]) == 0
    assert {path.name for path in CRDS.iterdir()} == set(rendered())


def test_check_tells_stale_files_and_writing_mends_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--check"]) == 1
    assert "aijobs.computegrid.dev.yaml" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--check"]) == 0


def test_kubectl_apply_can_keep_them_in_an_annotation() -> None:
    sizes = {name: len(content.encode()) for name, content in rendered().items()}
    assert max(sizes.values()) < 200_000, sizes
    assert sum(sizes.values()) < 400_000, sizes


def test_every_field_is_described() -> None:
    undescribed = [
        path for path, schema in NODES if not path.endswith(("[]", "{}")) and not schema.get("description")
    ]
    assert undescribed == []


def test_every_list_is_bounded_and_says_how_it_is_merged() -> None:
    lists = [(path, schema) for path, schema in NODES if schema.get("type") == "array"]
    assert [path for path, schema in lists if "maxItems" not in schema] == []
    assert [path for path, schema in lists if "x-kubernetes-list-type" not in schema] == []


def test_the_keys_of_lists_are_always_there() -> None:
    for path, schema in NODES:
        for key in schema.get("x-kubernetes-list-map-keys", []):
            item = schema["items"]
            assert key in item.get("required", []) or "default" in item["properties"][key], f"{path}: {key}"


def test_every_text_is_bounded() -> None:
    assert [
        path
        for path, schema in NODES
        if schema.get("type") == "string" and "maxLength" not in schema and "enum" not in schema
    ] == []


def test_every_number_is_bounded() -> None:
    numbers = [(path, schema) for path, schema in NODES if schema.get("type") in {"integer", "number"}]
    assert [path for path, schema in numbers if not {"minimum", "maximum"} <= schema.keys()] == []
    assert [path for path, schema in numbers if schema["type"] == "number"] == [], "the API has no floats"


def test_every_map_is_bounded() -> None:
    maps = [(path, schema) for path, schema in NODES if "additionalProperties" in schema]
    assert maps
    assert [path for path, schema in maps if "maxProperties" not in schema] == []


def test_nothing_is_there_that_a_structural_schema_may_not_have() -> None:
    allowed = {
        *("type", "format", "description", "default", "enum", "properties", "required", "items"),
        *("additionalProperties", "minimum", "maximum", "minLength", "maxLength", "pattern"),
        *("minItems", "maxItems", "minProperties", "maxProperties", "anyOf"),
        *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"),
        "x-kubernetes-int-or-string",
    }
    assert {key for _, schema in NODES for key in schema} <= allowed
    assert all(schema.get("type") or schema.get("x-kubernetes-int-or-string") for _, schema in NODES)


def test_rules_name_a_field() -> None:
    for path, schema in NODES:
        for rule in schema.get("x-kubernetes-validations", []):
            assert len(rule["message"]) < 300, path
            if "fieldPath" in rule:
                field = rule["fieldPath"].removeprefix(".").split(".")[0]
                assert field in schema["properties"], f"{path}: {rule}"


def test_nothing_is_null() -> None:
    assert [
        path for path, schema in NODES if schema.get("nullable") or schema.get("default", 0) is None
    ] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.definition.kind)
def test_names_and_columns(kind: type[Resource]) -> None:
    spec = custom_resource_definition(kind)["spec"]
    assert spec["names"]["categories"] == ["computegrid"]
    assert spec["names"]["kind"] == kind.__name__
    assert spec["versions"][0]["subresources"] == {"status": {}}
    columns = [column["name"] for column in spec["versions"][0]["additionalPrinterColumns"]]
    assert columns[-1] == "Age"
    assert "Status" in columns
