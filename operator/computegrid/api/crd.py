"""The CRDs, written from the models: ``python -m computegrid.api.crd crds/``.

With ``--check`` nothing is written; it fails when a file is not what the models say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from computegrid.api.accelerator import Accelerator
from computegrid.api.ai_job import AIJob
from computegrid.api.base import Column, Definition, Resource
from computegrid.api.compute_pool import ComputePool
from computegrid.api.compute_queue import ComputeQueue
from computegrid.api.labels import APP_NAME, APP_PART_OF, CATEGORY, GROUP, VERSION
from computegrid.api.member_cluster import MemberCluster
from computegrid.api.scalars import DNS_LABEL
from computegrid.api.structural import structural_schema

KINDS: Final[tuple[type[Resource], ...]] = (MemberCluster, Accelerator, ComputePool, ComputeQueue, AIJob)
_HEADER: Final = "# Written by `python -m computegrid.api.crd crds/` from the models: change those instead.\n"


def custom_resource_definition(kind: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, as the API server takes it."""
    definition = kind.definition
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{definition.plural}.{GROUP}",
            "labels": {APP_NAME: CATEGORY, APP_PART_OF: CATEGORY},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short],
                "categories": [CATEGORY],
            },
            "scope": definition.scope,
            "versions": [_version(kind)],
        },
    }


def _version(kind: type[Resource]) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root_schema(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.definition.columns],
    }
    if kind.definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.definition.selectable]
    return version


def _root_schema(kind: type[Resource]) -> dict[str, Any]:
    schema = structural_schema(kind)
    properties = schema["properties"]
    # The server itself knows the metadata, and lets a CRD narrow only the name.
    properties["apiVersion"] = _text(properties["apiVersion"]["description"])
    properties["kind"] = _text(properties["kind"]["description"])
    properties["metadata"] = {"type": "object", "properties": {"name": _name_schema(kind.definition)}}
    properties["status"].pop("default", None)  # status is the operator's to write, not the server's
    schema["required"] = sorted({*schema.get("required", []), "spec"})
    return schema


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _name_schema(definition: Definition) -> dict[str, Any]:
    return {
        "type": "string",
        "description": f"Name of the object. {definition.name_note}",
        "maxLength": definition.longest_name,
        "pattern": DNS_LABEL,
    }


def _column(column: Column) -> dict[str, Any]:
    shown = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        "description": column.description,
    }
    return shown | ({"priority": 1} if column.wide else {})


def rendered() -> dict[str, str]:
    """File names and contents of all CRDs; the same models give the same bytes."""
    return {
        f"{kind.definition.plural}.{GROUP}.yaml": _HEADER + _yaml(custom_resource_definition(kind))
        for kind in KINDS
    }


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=110, allow_unicode=True)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes every use of a shared object in full: anchors are hard to read and refused by some tools."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the CRDs, or check them."""
    parser = argparse.ArgumentParser(prog="computegrid.api.crd", description=__doc__)
    parser.add_argument("directory", type=Path, help="where the CRDs are, such as crds/")
    parser.add_argument("--check", action="store_true", help="only say whether the files are up to date")
    options = parser.parse_args(arguments)
    files = {options.directory / name: content for name, content in rendered().items()}
    stale = [path for path, content in files.items() if not path.exists() or path.read_text() != content]
    if options.check:
        for path in stale:
            sys.stderr.write(f"{path} is not what the models say; run python -m computegrid.api.crd\n")
        return 1 if stale else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(files[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
