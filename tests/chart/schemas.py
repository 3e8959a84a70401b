"""JSON schemas for kubeconform, made on this machine: it must not need the network to check a manifest.

Kinds of Kubernetes come from the OpenAPI document in the pinned `k8s.io/kubernetes` module, our own from
`crds/`, those of the Prometheus operator from `monitoring_schemas.yaml`. Unknown fields are always refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from controlplane.golang import cache_root, go_for
from controlplane.programs import MODULES

Json = dict[str, Any]

HERE = Path(__file__).parent
CRDS = HERE.parent.parent / "crds"
LOCATION = "{{ .ResourceKind }}-{{ .Group }}-{{ .ResourceAPIVersion }}.json"
_INT_OR_STRING = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
_QUANTITY = {"oneOf": [{"type": "string"}, {"type": "number"}]}
_REPLACED = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _INT_OR_STRING,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _QUANTITY,
}


def kubernetes_schemas() -> Path:
    """Return the folder of schemas of Kubernetes' kinds, made once and kept outside of the tree."""
    module = _kubernetes_module()
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = cache_root() / "schemas" / f"{module['Version']}-{recipe}"
    if folder.exists():
        return folder
    swagger = json.loads((Path(module["Dir"]) / "api/openapi-spec/swagger.json").read_text(encoding="utf-8"))
    described = swagger["definitions"]
    definitions = {name: _strict(schema, name) for name, schema in described.items()}
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    partial.mkdir(parents=True)
    for name, schema in described.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            reached = _reachable(definitions, name)
            document = {"$ref": f"#/definitions/{name}", "definitions": reached}
            _write(partial, kind["kind"], kind["group"], kind["version"], document)
    try:
        partial.rename(folder)
    except OSError:  # another process was first
        assert folder.exists()
    return folder


def project_schemas(folder: Path) -> Path:
    """Write the schemas of our own kinds, and of the Prometheus operator's, into the folder."""
    for path in CRDS.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"], "")
            schema["properties"]["metadata"] = {"type": "object"}
            _write(folder, spec["names"]["kind"], spec["group"], version["name"], schema)
    monitoring = yaml.safe_load((HERE / "monitoring_schemas.yaml").read_text(encoding="utf-8"))
    definitions = monitoring.pop("definitions")
    for kind, spec_schema in monitoring.items():
        header: Json = {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
        document: Json = {
            "type": "object",
            "additionalProperties": False,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {**header, "spec": spec_schema},
            "definitions": definitions,
        }
        _write(folder, kind, "monitoring.coreos.com", "v1", document)
    return folder


def _kubernetes_module() -> Json:
    """Return version and folder of the module; it is fetched when only the built programs are here."""
    folder = MODULES / "cluster"
    done = subprocess.run(
        [go_for(folder), "mod", "download", "-json", "k8s.io/kubernetes"],
        cwd=folder,
        env={**os.environ, "GOFLAGS": "", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    module: Json = json.loads(done.stdout)
    return module


def _strict(node: Any, name: str) -> Any:
    """Refuse fields that a schema does not name; `name` is that of a definition, as two are no objects."""
    if name in _REPLACED:
        return _REPLACED[name]
    if isinstance(node, list):
        return [_strict(item, "") for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return _INT_OR_STRING
    kept = {
        key: {child: _strict(schema, "") for child, schema in value.items()}
        if key == "properties"
        else _strict(value, "")
        for key, value in node.items()
        if key not in {"description", "default", "format"} and not key.startswith("x-")
    }
    open_object = node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node
    if "properties" in kept and not open_object:
        kept["additionalProperties"] = False
    return kept


def _reachable(definitions: Json, root: str) -> Json:
    found: Json = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting += re.findall(r'"#/definitions/([^"]+)"', json.dumps(definitions[name]))
    return found


def _write(folder: Path, kind: str, group: str, version: str, schema: Json) -> None:
    # The name that kubeconform makes of LOCATION: kinds in lower case, and `v1` as the core group.
    path = folder / f"{kind.lower()}-{group or version}-{version}.json"
    path.write_text(json.dumps(schema), encoding="utf-8")
