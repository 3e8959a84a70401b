"""Nothing happens: a grid full of running jobs is watched, and its operator writes nothing but Leases."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from demo.grid import OperatorProcess
from tests.chaos.figures import Figure, Options
from tests.chaos.stage import POOL, stage
from tests.e2e.audit import Audit
from tests.e2e.bulk import submit
from tests.e2e.world import NAMESPACE, World, condition_of, container, eventually, job, pod_set

_JOBS, _SECONDS = 2_000, 600.0
_SHORT_JOBS, _SHORT_SECONDS = 120, 25.0
_SETTLED_SECONDS = 20.0
"""Without a write for so long, what came of the jobs' start has ended."""


def run(options: Options) -> list[Figure]:
    """Return one figure: looks at the audit log, a second apart, in which only Leases were written."""
    if not options.mine(0):
        return []
    jobs, seconds = (_SHORT_JOBS, _SHORT_SECONDS) if options.short else (_JOBS, _SECONDS)
    figure = Figure(f"quiet: {jobs} running jobs write nothing for {seconds:.0f} s", options.seed)
    with stage(options.folder / "quiet", jobs // 8 + 2) as world:
        world.start()
        world.wait_status("ComputePool", POOL, "Ready")
        steady = pod_set(container=container(resources={"requests": {"cpu": "100m"}}))
        submit(world.clusters["core-1"], [job(f"steady-{n}", steady, pool=POOL) for n in range(jobs)])
        eventually(lambda: _running(world) == jobs, f"{jobs} jobs run", 900, interval=2.0)
        audit = Audit(world)
        eventually(lambda: _settled(world.operator, audit), "their start is written down", 300, interval=0.5)
        _watch(world, audit, seconds, figure)
    return [figure]


def _running(world: World) -> int:
    if world.operator.process.poll() is not None:  # lost its Lease on a busy machine: a kubelet does the same
        world.start()
    return sum(condition_of(d, "PodsReady")["status"] == "True" for d in world.hub.list("AIJob", NAMESPACE))


def _settled(operator: OperatorProcess, audit: Audit) -> bool:
    """Look from now on; whether nothing but Leases was written for a while."""
    before = len(_others(audit))
    end = time.monotonic() + _SETTLED_SECONDS
    while time.monotonic() < end:
        if len(_others(audit)) > before:
            return False
        _lives_on(operator)
    return True


def _others(audit: Audit) -> list[str]:
    return [str(write) for write in audit.update() if write.resource != "leases"]


def _watch(world: World, audit: Audit, seconds: float, figure: Figure) -> None:
    seen, cpu, began = len(_others(audit)), _cpu_seconds(world.operator.pid), time.monotonic()
    while time.monotonic() - began < seconds:
        _lives_on(world.operator)
        others = _others(audit)
        figure.count(len(others) == seen, "; ".join(others[seen : seen + 3]))
        seen = len(others)
    took = time.monotonic() - began
    used = _cpu_seconds(world.operator.pid) - cpu
    renewals = sum(write.resource == "leases" for write in audit.writes)
    figure.details |= {"cpu_percent": round(100 * used / took, 1), "lease_writes": renewals}


def _lives_on(operator: OperatorProcess) -> None:
    """Let a second pass in which the operator does not end."""
    try:
        code = operator.process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError(f"the operator ended with {code}:\n{operator.tail(30)}")


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
