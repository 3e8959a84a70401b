"""Traces: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from computegrid.simulate.columns import InputError
from computegrid.simulate.supply import openb_nodes
from computegrid.simulate.traces import check_names, read_trace

PLAIN = "job,submit,pods,run"
OPENB = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time,deletion_time,scheduled_time"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_column_of_a_plain_trace_is_read(tmp_path: Path):
    more = "devices,cpu,memory,models,queue,priority,min_pods,max_run,checkpoint,fails_after,backoff_limit"
    header = f"{PLAIN},{more}"
    path = written(tmp_path, f"{header}\na,1.5,4,600,8,500m,16Gi,h100|a100,research,7,2,900,60,30,5\n")
    [read] = read_trace(path)
    job, [pod_set] = read.job, read.job.pod_sets
    assert (job.name, job.created, job.queue, job.priority) == ("a", 1.5, "research", 7)
    assert (pod_set.replicas, pod_set.min_replicas, pod_set.devices) == (4, 2, 8)
    assert dict(pod_set.requests) == {"cpu": 500, "memory": 16 * 2**30, "pods": 1}
    assert job.alternatives[0].accelerators == ("h100", "a100")
    assert (read.run_seconds, read.limit_seconds, job.longest_seconds) == (600.0, 900.0, 900)
    assert (read.checkpoint_seconds, read.fails_after, read.backoff_limit) == (60.0, 30.0, 5)


def test_what_is_left_out_has_its_default(tmp_path: Path):
    [read] = read_trace(written(tmp_path, f"\ufeff{PLAIN},share\n\nb,0,1,5,0.25\n"))
    assert read.job.queue == "default"
    assert read.job.pod_sets[0].share_milli == 250
    assert read.job.longest_seconds is None
    assert read.job.alternatives == ()


@pytest.mark.parametrize(
    ("line", "column", "what"),
    [
        ("a,x,1,5", "submit", "'x' must be a number from 0 to"),
        ("a,-1,1,5", "submit", "'-1' must be a number from 0 to"),
        ("a,nan,1,5", "submit", "'nan' must be a number"),
        ("a,0,0,5", "pods", "'0' must be a whole number from 1 to"),
        ("a,0,1.5,5", "pods", "'1.5' must be a whole number"),
        ("a,0,1,0", "run", "'0' must be a number from 0.001"),
        ("a,0,1,inf", "run", "'inf' must be a number"),
        (",0,1,5", "job", "must not be empty"),
        ("a,,1,5", "submit", "must not be empty"),
        ("a,0,1", "run", "3 cells; the header has 4"),
        ("a,0,1,5,6", "run", "5 cells; the header has 4"),
    ],
)
def test_a_bad_cell_is_told_with_line_and_column(tmp_path: Path, line: str, column: str, what: str):
    path = written(tmp_path, f"{PLAIN}\nfine,0,1,5\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_trace(path)
    [told] = str(caught.value).splitlines()
    assert told.startswith(f"{path}:3: column {column}: "), told
    assert what in told


@pytest.mark.parametrize(
    ("columns", "cells", "column", "what"),
    [
        ("cpu", "many", "cpu", "'many' must be CPUs such as 4 or 500m"),
        ("cpu", "-1", "cpu", "not negative"),
        ("memory", "16Gb", "memory", "'16Gb' must be a quantity such as 16Gi"),
        ("devices", "65", "devices", "'65' must be a whole number from 0 to 64"),
        ("share", "1", "share", "'1' must be a number from 0 to 0.999"),
        ("devices,share", "1,0.5", "share", "must be empty or 0 where devices are whole"),
        ("min_pods", "3", "min_pods", "'3' must be a whole number from 1 to 2"),
        ("priority", "high", "priority", "'high' must be a whole number"),
        ("fails_after", "5", "fails_after", "5 must be less than run, 5"),
        ("max_run", "0", "max_run", "'0' must be a number from 1"),
    ],
)
def test_a_bad_optional_cell_is_told(tmp_path: Path, columns: str, cells: str, column: str, what: str):
    path = written(tmp_path, f"{PLAIN},{columns}\na,0,2,5,{cells}\n")
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert f"{path}:2: column {column}: " in str(caught.value)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", ":1: is empty"),
        (f"{PLAIN}\n", ":1: has a header and no rows"),
        ("job,submit,pods\na,0,1\n", ":1: column run: is missing; needed are job, submit, pods, run"),
        (f"{PLAIN},colour\na,0,1,5,red\n", ":1: column colour: is not known; known are job,"),
        (f"{PLAIN},run\na,0,1,5,5\n", ":1: column run: is there more than once"),
        (f"{PLAIN}\na,0,1,5\na,0,1,5\n", ":3: column job: 'a' is the name of line 2 too"),
        (f'{PLAIN}\n"a,0,1,5\n', "is not a CSV file in UTF-8"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, text: str, what: str):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=r".") as caught:
        read_trace(path)
    assert what in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.csv: cannot be read: No such file"):
        read_trace(tmp_path / "none.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a CSV file in UTF-8"):
        read_trace(path)


def test_many_problems_are_told_up_to_a_limit(tmp_path: Path):
    path = written(tmp_path, PLAIN + "\n" + "".join(f"j{n},x,1,5\n" for n in range(50)))
    with pytest.raises(InputError) as caught:
        read_trace(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == f"{path}: 30 more of the kind"


def test_openb_columns_are_read(tmp_path: Path):
    rows = (
        "t0,1000,2048,1,460,,LS,10,110,20\nt1,1000,0,2,1000,V100M32|T4,BE,5,25,\nt2,500,64,0,0,T4,BE,0,0,0\n"
    )
    share, whole, cpu = read_trace(written(tmp_path, f"{OPENB}\n{rows}"))
    assert (share.job.created, share.run_seconds, share.job.queue) == (10.0, 90.0, "ls")
    assert (share.job.pod_sets[0].devices, share.job.pod_sets[0].share_milli) == (0, 460)
    assert (whole.job.pod_sets[0].devices, whole.run_seconds) == (2, 20.0)
    assert whole.job.alternatives[0].accelerators == ("v100m32", "t4")
    assert (cpu.job.alternatives, cpu.run_seconds) == ((), 1.0)


def test_openb_times_must_be_in_order(tmp_path: Path):
    path = written(tmp_path, f"{OPENB}\nt0,1000,2048,1,460,,LS,10,15,20\n")
    with pytest.raises(InputError, match=r":2: column deletion_time: 15 must not be before 20"):
        read_trace(path)


def test_openb_nodes_are_pools_by_model(tmp_path: Path):
    path = tmp_path / "nodes.csv"
    path.write_text(
        "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,P100\nn0,96000,1024,8,T4\nn2,1000,1,0,\n"
    )
    grid = openb_nodes(path, slots=1000)
    assert {pool.name: (pool.accelerator, len(pool.rows)) for pool in grid.snapshot.pools} == {
        "p100": ("p100", 1),
        "t4": ("t4", 1),
        "cpu": (None, 1),
    }
    assert grid.shares_devices
    assert grid.models == {"p100", "t4"}
    assert grid.snapshot.nodes.names == ("n0", "n1", "n2")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("n0,64000,1,2,", ":3: column model: must not be empty"),
        ("n1,64000,1,2,T4", ":3: column sn: 'n1' is there more than once"),
        ("n0,0,1,2,T4", ":3: column cpu_milli: '0' must be a whole number from 1"),
        ("n0,1,1,2,T 4", ":3: column model: 't 4' must be made of letters"),
    ],
)
def test_bad_openb_nodes_are_told(tmp_path: Path, line: str, what: str):
    path = tmp_path / "nodes.csv"
    path.write_text(f"sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,P100\n{line}\n")
    with pytest.raises(InputError) as caught:
        openb_nodes(path)
    assert what in str(caught.value)


def test_queues_and_models_must_be_in_the_grid(tmp_path: Path):
    jobs = read_trace(written(tmp_path, f"{PLAIN},queue,models\na,0,1,5,one,h100\nb,0,1,5,two,h200\n"))
    check_names(jobs, frozenset({"one", "two"}), frozenset({"h100", "h200"}))
    with pytest.raises(InputError) as caught:
        check_names(jobs, frozenset({"one"}), frozenset({"h100"}))
    assert str(caught.value).splitlines() == [
        "job b: queue 'two' is not in the grid; it has one",
        "job b: model 'h200' is not in the grid; it has h100",
    ]
