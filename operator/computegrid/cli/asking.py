"""How `kubectl grid` reaches the operator: through kubectl and the service proxy, or by a plain URL.

kubectl brings every kind of login that a kubeconfig may name, and the API server asks for the right to the
Service before it passes the question on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Protocol

_SECONDS = 60.0
_STANDBY_TRIES = 10
"""The Service leads to all replicas, and only the leader answers."""
_STANDS_BY = "this replica stands by"


class AskError(Exception):
    """There is no answer; the message says why and what helps."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
        """HTTP status, or 0 when nobody answered."""


class Asker(Protocol):
    """Puts one question."""

    def __call__(self, path: str, body: bytes | None = None) -> bytes:
        """Return the answer to GET, or with a body to POST.

        Raises:
            AskError: there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByUrl:
    """Asks at an address, for example that of `kubectl port-forward`."""

    url: str

    def __call__(self, path: str, body: bytes | None = None) -> bytes:
        """Ask (see `Asker`)."""
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked where the option is read
            self.url.rstrip("/") + path, data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            raise AskError(_message(error.read(), error.reason), code=error.code) from None
        except OSError as error:
            raise AskError(f"{self.url} cannot be reached: {error}") from None


@dataclass(frozen=True, slots=True)
class ByKubectl:
    """Asks through the proxy of the operator's Service."""

    namespace: str
    service: str
    options: tuple[str, ...] = ()
    """Of kubectl: `--context=...`, `--kubeconfig=...`."""

    def __call__(self, path: str, body: bytes | None = None) -> bytes:
        """Ask (see `Asker`); a replica that only stands by is passed over."""
        program = shutil.which("kubectl")
        if program is None:
            raise AskError("kubectl is not on the PATH; install it, or give --url")
        proxy = f"/api/v1/namespaces/{self.namespace}/services/http:{self.service}:http/proxy{path}"
        verb = ("get", "--raw", proxy) if body is None else ("create", "--raw", proxy, "-f", "-")
        command = [program, *self.options, *verb]
        said = ""
        for _ in range(_STANDBY_TRIES):
            try:
                done = subprocess.run(  # noqa: S603 - kubectl, by its full path
                    command, input=body, capture_output=True, timeout=_SECONDS, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise AskError(f"kubectl: {error}") from None
            if done.returncode == 0:
                return done.stdout
            said = done.stderr.decode(errors="replace").strip()
            if _STANDS_BY not in said:
                break
        raise AskError(self._with_remedy(said), code=_code_of(said))

    def _with_remedy(self, said: str) -> str:
        where = f"service {self.service} in namespace {self.namespace}"
        if "(Forbidden)" in said:
            return f"{said}\nask for the role that the value rbac.queryGroups of the chart binds"
        if "services" in said and "not found" in said:
            return f"{said}\nis the operator's {where}? give --service and --system-namespace"
        if "no endpoints available" in said:
            return f"{said}\nno replica behind {where} is ready"
        return said


def _message(body: bytes, otherwise: str) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return otherwise


def _code_of(said: str) -> int:
    """Return the HTTP status that kubectl names by its reason."""
    codes = {"(BadRequest)": 400, "(NotFound)": 404, "(Forbidden)": 403, "(UnprocessableEntity)": 422}
    return next((code for reason, code in codes.items() if reason in said), 0)
