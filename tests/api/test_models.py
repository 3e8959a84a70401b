"""The models read what the API server returns, write what it takes, and notice typing errors."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from pydantic import ValidationError

import computegrid.api
from computegrid.api.ai_job import AIJob
from computegrid.api.base import CamelModel, camel
from computegrid.api.crd import KINDS
from computegrid.api.environment import EnvVar
from tests.api.good_objects import good

BY_NAME = {kind.definition.kind: kind for kind in KINDS}


@pytest.mark.parametrize("kind", BY_NAME)
def test_what_is_read_is_written_again(kind: str) -> None:
    raw = good(kind)
    model = BY_NAME[kind].parse_strictly(raw)
    written = model.to_raw()
    assert list(missing(raw, written)) == []
    assert BY_NAME[kind].parse_strictly(written) == model


def missing(raw: Any, written: Any, path: str = "") -> list[str]:
    """Paths of what ``raw`` has and ``written`` has not, or has otherwise; defaults may be added."""
    if isinstance(raw, dict):
        return [
            lost
            for key, value in raw.items()
            for lost in (
                missing(value, written[key], f"{path}.{key}") if key in written else [f"{path}.{key}"]
            )
        ]
    if isinstance(raw, list) and len(raw) == len(written):
        return [lost for pair in enumerate(zip(raw, written, strict=True)) for lost in in_list(pair, path)]
    return [] if raw == written else [path]


def in_list(pair: tuple[int, tuple[Any, Any]], path: str) -> list[str]:
    index, (before, after) = pair
    return missing(before, after, f"{path}[{index}]")


@pytest.mark.parametrize("kind", BY_NAME)
def test_fields_of_a_later_version_are_ignored_when_read_and_refused_when_strict(kind: str) -> None:
    raw = good(kind)
    raw["spec"]["fieldOfTomorrow"] = 1
    BY_NAME[kind].parse(raw)
    with pytest.raises(ValidationError, match="fieldOfTomorrow"):
        BY_NAME[kind].parse_strictly(raw)


def test_strict_reading_takes_json_names_only() -> None:
    raw = good("AIJob")
    raw["spec"]["pod_sets"] = raw["spec"].pop("podSets")
    with pytest.raises(ValidationError, match="podSets"):
        AIJob.parse_strictly(raw)


def test_what_is_read_cannot_be_changed() -> None:
    job = AIJob.parse(good("AIJob"))
    with pytest.raises(ValidationError, match="frozen"):
        job.spec.suspend = True  # type: ignore[misc]


def test_an_empty_directory_survives_though_empty_lists_do_not() -> None:
    template = AIJob.parse(good("AIJob")).spec.pod_sets[0].template.to_raw()
    assert {"name": "scratch", "emptyDir": {}} in template["spec"]["volumes"]
    assert "args" not in template["spec"]["initContainers"][0]
    assert template["spec"]["restartPolicy"] == "OnFailure"


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("pod_sets", "podSets"),
        ("size_gib", "sizeGiB"),
        ("carbon_intensity_grams_per_kwh", "carbonIntensityGramsPerKWh"),
        ("insecure_skip_tls_verify", "insecureSkipTLSVerify"),
        ("cluster_uid", "clusterUID"),
        ("per_cpu_hour", "perCPUHour"),
        ("cpu_only", "cpuOnly"),
    ],
)
def test_names_in_json(attribute: str, name: str) -> None:
    assert camel(attribute) == name


def test_a_variable_by_its_name_in_python() -> None:
    assert EnvVar(name="A", value="b").to_raw() == {"name": "A", "value": "b"}


def test_every_model_is_a_camel_model() -> None:
    for module in pkgutil.iter_modules(computegrid.api.__path__):
        contents = vars(importlib.import_module(f"computegrid.api.{module.name}"))
        for name, value in contents.items():
            if isinstance(value, type) and hasattr(value, "model_fields") and name != "BaseModel":
                assert issubclass(value, CamelModel), f"{module.name}.{name}"
