"""kubectl as the commands that change clusters use it: one cluster, and the login of whoever calls."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Document = dict[str, Any]

_SECONDS = 60.0
_FIELD_MANAGER = "computegrid-join"


class KubectlError(Exception):
    """kubectl did not do what was asked; the message is its own."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster, as kubectl reaches it."""

    options: tuple[str, ...] = ()
    """`--context=...`, `--kubeconfig=...`."""

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = _SECONDS) -> str:
        """Return what kubectl prints.

        Raises:
            KubectlError: it is not there, or it failed.
        """
        program = shutil.which("kubectl")
        if program is None:
            raise KubectlError("kubectl is not on the PATH")
        try:
            done = subprocess.run(  # noqa: S603 - kubectl, by its full path
                [program, *self.options, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubectlError(f"kubectl: {error}") from None
        if done.returncode:
            raise KubectlError(done.stderr.strip() or f"kubectl ended with {done.returncode}")
        return done.stdout

    def get(self, *arguments: str) -> Document | None:
        """Return one object, or a list; None for one that is not there (raises as `run`)."""
        text = self.run("get", *arguments, "--output=json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def apply(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Create objects, or bring them to what is given (raises as `run`).

        On the server's side: no annotation repeats what a Secret holds.
        """
        how = ("--server-side", "--force-conflicts", f"--field-manager={_FIELD_MANAGER}")
        self.run("apply", *how, "--filename=-", stdin=text_of(documents))

    def set_spec(self, document: Document) -> None:
        """Create a cluster-scoped object, or set the fields of its spec that are given (raises as `run`).

        Unlike `apply`, which takes over what kubectl applied before, it leaves all other fields alone.
        """
        kind, name = document["kind"].lower(), document["metadata"]["name"]
        if self.get(kind, name) is None:
            self.run("create", "--filename=-", stdin=text_of([document]))
            return
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps({'spec': document['spec']})}")

    def delete(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Delete objects in this order; what is not there is done (raises as `run`)."""
        self.run("delete", "--ignore-not-found", "--filename=-", stdin=text_of(documents))


def text_of(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return documents as YAML."""
    return yaml.safe_dump_all([dict(each) for each in documents], sort_keys=False)
