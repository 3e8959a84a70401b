"""Programs on disk: ready-made ones that fit, else built once from the pinned modules into the cache."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from controlplane.errors import ToolError
from controlplane.golang import cache_root, go_for
from controlplane.programs import CLUSTER_PROGRAMS, MODULES, PROGRAMS, Program, build_key

BUILD_TIMEOUT_SECONDS = 3600


def program_path(name: str) -> Path:
    """The path of one program, built first if need be."""
    program = PROGRAMS.get(name)
    if program is None:
        raise ToolError(f"no program is called {name!r}; there are: {', '.join(PROGRAMS)}")
    return ensure([program])[name]


def ensure(programs: Sequence[Program] = CLUSTER_PROGRAMS) -> dict[str, Path]:
    """Paths by name. KUBEBUILDER_ASSETS goes first, then the cache, then the PATH; the rest is built."""
    found = {program.name: path for program in programs if (path := _existing(program)) is not None}
    missing = [program for program in programs if program.name not in found]
    for module in dict.fromkeys(program.module for program in missing):
        found |= _build(module, [program for program in missing if program.module == module])
    return {program.name: found[program.name] for program in programs}


def bin_directory(module: str) -> Path:
    """Where the programs of one module are kept; the name changes with anything that goes into them."""
    return cache_root() / "tools" / build_key(module) / "bin"


def _existing(program: Program) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and _fits(program, candidate := Path(assets).expanduser() / program.name):
        return candidate
    cached = bin_directory(program.module) / program.name
    if cached.exists():
        return cached
    on_path = shutil.which(program.name) if program.version else None
    return Path(on_path) if on_path and _fits(program, Path(on_path)) else None


@cache
def _fits(program: Program, candidate: Path) -> bool:
    """Whether the binary says the same minor version as the pinned one."""
    if not program.version or not os.access(candidate, os.X_OK):
        return False
    try:
        command = [str(candidate), *program.version_args]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = re.search(r"v?(\d+\.\d+)\.\d+", done.stdout + done.stderr)
    return said is not None and program.version.startswith(f"v{said.group(1)}.")


def _build(module: str, programs: Sequence[Program]) -> dict[str, Path]:
    target = bin_directory(module)
    target.mkdir(parents=True, exist_ok=True)
    with _only_one(target.parent / "lock"):
        # The lock may have been waited for: another process has built in the meantime.
        missing = [program for program in programs if not (target / program.name).exists()]
        go = go_for(MODULES / module) if missing else None
        for number, program in enumerate(missing, start=1):
            assert go is not None
            _tell(f"building {program.name} {program.version or '(own)'}, {number} of {len(missing)}")
            began = time.monotonic()
            _build_one(go, program, target)
            _tell(f"built {program.name} in {time.monotonic() - began:.0f} s")
    return {program.name: target / program.name for program in programs}


def _build_one(go: Path, program: Program, target: Path) -> None:
    # Built beside its place and renamed: a reader sees a whole binary or none.
    partial = target / f".{program.name}-{os.getpid()}"
    command = [str(go), "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    command += ["-ldflags", program.linker_flags(), "-o", str(partial), program.package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        done = subprocess.run(
            command,
            cwd=MODULES / program.module,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT_SECONDS,
        )
        if done.returncode != 0:
            raise ToolError(f"{program.name} {program.version} did not build:\n{done.stderr.strip()[-4000:]}")
        partial.rename(target / program.name)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell("another process is building the tools, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _tell(message: str) -> None:
    print(f"controlplane: {message}", file=sys.stderr, flush=True)
