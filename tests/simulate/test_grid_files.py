"""Grids from the manifests of a real one, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from computegrid.simulate.columns import InputError
from computegrid.simulate.grid_files import read_grid
from tests.docs.pages import ROOT
from tests.simulate.worlds import make_jobs, run

GRID = """
apiVersion: v1
kind: Namespace
metadata: {name: passed-over}
---
apiVersion: computegrid.dev/v1alpha1
kind: MemberCluster
metadata: {name: west}
spec: {local: true, region: west, carbonIntensityGramsPerKWh: 100}
---
apiVersion: computegrid.dev/v1alpha1
kind: Accelerator
metadata: {name: h100}
spec: {vendor: nvidia, model: H100, resourceNames: [nvidia.com/gpu], wattsPerDevice: 700,
  nodeSelectors: [{matchLabels: {product: H100}}]}
---
apiVersion: computegrid.dev/v1alpha1
kind: ComputePool
metadata: {name: west-h100}
spec:
  clusterName: west
  acceleratorName: h100
  price: {perDeviceHour: "2"}
  topologyLevels: [{name: block, label: example.com/block}, {name: rack, label: example.com/rack}]
  nodeSelector: {matchExpressions: [{key: tenant, operator: In, values: [b, a]}]}
---
apiVersion: computegrid.dev/v1alpha1
kind: ComputeQueue
metadata: {name: research}
spec: {weight: 3, budget: {period: Day, money: "100"}}
---
apiVersion: simulate.computegrid.dev/v1alpha1
kind: PoolNodes
metadata: {name: west-h100}
spec: {nodes: 8, devices: 4, cpu: "64", memory: 1Ti, domains: {block: 2, rack: 4}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_objects_mean_what_they_mean_to_the_operator(tmp_path: Path):
    grid = read_grid([written(tmp_path, GRID)])
    snapshot = grid.snapshot
    [pool], [queue] = snapshot.pools, snapshot.queues
    assert (len(pool.rows), pool.device, pool.levels) == (8, "nvidia.com/gpu", ("block", "rack"))
    assert pool.price_micros_per_device_hour == 2_000_000
    assert [len(names) for names in pool.domain_names] == [2, 4]
    column = snapshot.resources.columns["nvidia.com/gpu"]
    assert snapshot.nodes.allocatable[:, column].tolist() == [4] * 8
    assert snapshot.nodes.allocatable[:, 0].tolist() == [64_000] * 8
    assert (queue.name, queue.weight, queue.budget.money_micros) == ("research", 3, 100_000_000)
    assert grid.periods == {"research": 86_400.0}
    assert grid.fixed_queues


def test_a_folder_stands_for_its_files_and_the_examples_can_be_simulated(tmp_path: Path):
    nodes = written(
        tmp_path,
        "apiVersion: simulate.computegrid.dev/v1alpha1\nkind: PoolNodes\n"
        "metadata: {name: west-1-a100}\nspec: {nodes: 3}\n",
    )
    grid = read_grid([ROOT / "charts/computegrid/catalogue", ROOT / "examples/00-grid", nodes])
    assert {pool.name: len(pool.rows) for pool in grid.snapshot.pools if len(pool.rows)} == {"west-1-a100": 3}
    outcome = run(grid, make_jobs({"queue": "research", "models": ("nvidia-a100",)}))
    assert outcome.never_started == 0


def test_a_budget_holds_jobs_back_until_it_is_whole_again(tmp_path: Path):
    grid = read_grid([written(tmp_path, GRID)])  # 100 a day, and a job of an hour and 32 devices costs 64
    job = {"queue": "research", "pods": 8, "devices": 4, "run_seconds": 3590.0, "limit_seconds": 3600.0}
    outcome = run(grid, make_jobs(job, job))
    first, second = (life.first_admitted_at for life in outcome.lives)
    assert first == 1.0
    assert second == pytest.approx(86_400.0 + 1.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("weight: 3", "weight: 0"), "grid.yaml:27: ComputeQueue research: spec.weight: "),
        (("weight: 3", "wieght: 3"), "grid.yaml:27: ComputeQueue research: spec.wieght: "),
        (("nodes: 8", "nodes: 0"), "grid.yaml:32: PoolNodes west-h100: spec.nodes: "),
        (("{block: 2", "{hall: 2"), "PoolNodes west-h100: domains hall: the pool has levels block, rack"),
        (
            ("metadata: {name: west}", "metadata: {name: east}"),
            "ComputePool west-h100: there is no MemberCluster west",
        ),
        (
            ("metadata: {name: h100}", "metadata: {name: a100}"),
            "ComputePool west-h100: there is no Accelerator h100",
        ),
        (("kind: PoolNodes", "kind: Else"), "no pool has nodes: add an object of kind PoolNodes"),
        (("metadata: {name: research}", "metadata: {}"), "ComputeQueue: metadata.name must not be empty"),
        (("spec: {weight", "spec: [weight"), "grid.yaml: is not YAML: "),
        (
            ("apiVersion: v1\n", "- one\n---\napiVersion: v1\n"),
            "grid.yaml:2: must be an object with apiVersion",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_field(tmp_path: Path, change: tuple[str, str], told: str):
    assert change[0] in GRID
    path = written(tmp_path, GRID.replace(*change))
    with pytest.raises(InputError) as caught:
        read_grid([path])
    assert told in str(caught.value)


def test_objects_of_one_name_and_folders_without_files_are_refused(tmp_path: Path):
    path = written(tmp_path, GRID)
    with pytest.raises(InputError, match="MemberCluster west is there more than once"):
        read_grid([path, path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no \.yaml file"):
        read_grid([tmp_path / "empty"])
