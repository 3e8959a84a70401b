"""The examples and the catalogue are what the models understand, and agree with each other."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from computegrid.api.accelerator import Accelerator
from computegrid.api.ai_job import AIJob
from computegrid.api.base import Resource
from computegrid.api.compute_pool import ComputePool
from computegrid.api.compute_queue import ComputeQueue
from computegrid.api.crd import KINDS
from computegrid.api.labels import API_VERSION
from computegrid.api.member_cluster import MemberCluster
from computegrid.api.quantity import exact

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))
CATALOGUE = ROOT / "manifests/catalogue/accelerators.yaml"
BY_NAME = {kind.definition.kind: kind for kind in KINDS}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def ours(path: Path) -> list[Resource]:
    return [
        BY_NAME[document["kind"]].parse_strictly(document)
        for document in documents(path)
        if document["apiVersion"] == API_VERSION
    ]


@pytest.mark.parametrize("path", [*EXAMPLES, CATALOGUE], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_document_is_understood(path: Path) -> None:
    assert ours(path)


def test_every_example_says_what_it_shows() -> None:
    folders = {path.parent for path in EXAMPLES}
    assert len(folders) >= 9
    assert [folder.name for folder in folders if not (folder / "README.md").exists()] == []


def test_names_in_the_examples_lead_somewhere() -> None:
    found: dict[type[Resource], set[str]] = defaultdict(set)
    objects = [item for path in [*EXAMPLES, CATALOGUE] for item in ours(path)]
    for item in objects:
        assert item.metadata.name not in found[type(item)], f"two {item.kind}s are named {item.metadata.name}"
        found[type(item)].add(item.metadata.name)
    for item in objects:
        for kind, name in references(item):
            assert name in found[kind], f"{item.metadata.name} names the {kind.__name__} {name}"


def references(item: Resource) -> list[tuple[type[Resource], str]]:
    """What an object refers to by name."""
    match item:
        case MemberCluster(spec=spec):
            return [(MemberCluster, link.cluster_name) for link in spec.links if link.cluster_name]
        case ComputePool(spec=spec):
            names = [(MemberCluster, spec.cluster_name), (Accelerator, spec.accelerator_name)]
            names += [(ComputeQueue, name) for name in spec.access.queue_names]
        case ComputeQueue(spec=spec):
            names = [(ComputeQueue, spec.parent_name)]
            names += [(Accelerator, quota.accelerator_name) for quota in spec.quotas]
        case AIJob(spec=spec):
            names = [(ComputeQueue, spec.queue_name)]
            names += [(ComputePool, name) for name in spec.placement.pool_names]
            names += [(Accelerator, name) for other in spec.alternatives for name in other.accelerators or ()]
        case _:
            names = []
    return [(kind, name) for kind, name in names if name is not None]


def catalogue() -> list[Accelerator]:
    return [Accelerator.parse_strictly(document) for document in documents(CATALOGUE)]


def test_the_catalogue_has_many_vendors() -> None:
    models = catalogue()
    assert len(models) >= 24
    assert len({model.spec.vendor for model in models}) >= 12
    assert all(model.metadata.name.startswith(f"{model.spec.vendor}-") for model in models)
    assert all(model.metadata.annotations["kubernetes.io/description"] for model in models)


def test_models_with_one_resource_name_are_told_apart_by_labels() -> None:
    by_resource = defaultdict(list)
    for model in catalogue():
        for name in model.spec.resource_names:
            by_resource[name].append(model)
    for name, models in by_resource.items():
        if len(models) > 1:
            unlabelled = [model.metadata.name for model in models if not model.spec.node_selectors]
            assert unlabelled == [], f"{name} does not tell {unlabelled} from the others"


def test_compute_units_compare_16_bit_rates_with_the_reference() -> None:
    rates = {
        model.metadata.name: {peak.precision: exact(peak.teraflops) for peak in model.spec.peak_teraflops}
        for model in catalogue()
    }
    reference = rates["nvidia-a100"]["bf16"]
    for model in catalogue():
        known = rates[model.metadata.name]
        rate = known.get("bf16", known.get("fp16", reference))
        assert abs(exact(model.spec.compute_units) - rate / reference) <= Fraction(1, 100), (
            model.metadata.name
        )
