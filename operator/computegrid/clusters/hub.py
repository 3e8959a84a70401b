"""How the operator itself reaches the hub: the service account of its pod, or a kubeconfig of its own.

This configuration belongs to whoever runs the operator and is trusted, unlike that of a member, so the loader
of the official client reads it: it knows contexts, exec plugins and files. A proxy in it is not used.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from computegrid.clusters.credentials import Credentials
from computegrid.clusters.errors import Invalid

if TYPE_CHECKING:
    from kubernetes.client import Configuration

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RENEWING: ContextVar[bool] = ContextVar("RENEWING", default=False)
"""True while a token of the operator's own kubeconfig is made, for which it may name a program to run."""
TOKEN_SECONDS = 60.0
"""A kubelet renews a token long before it ends; client-go reads the file once a minute too."""


def load_hub_credentials(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """The credentials of the hub: a given kubeconfig, else the pod's own account, else the usual kubeconfig.

    Reads files and may run the exec plugin of the kubeconfig, so call it before the event loop is busy.
    """
    chosen = kubeconfig or environ.get("KUBECONFIG")
    if not chosen and not context and "KUBERNETES_SERVICE_HOST" in environ:
        return in_cluster(environ, service_account)
    return from_kubeconfig(chosen or "~/.kube/config", context)


def in_cluster(
    environ: Mapping[str, str] = os.environ, service_account: Path = SERVICE_ACCOUNT
) -> Credentials:
    """The credentials that Kubernetes mounts into each pod."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Invalid("KUBERNETES_SERVICE_HOST is not set: this is no pod of a cluster")
    address = f"[{host}]" if ":" in host else host
    try:
        ca_data = (service_account / "ca.crt").read_bytes()
    except OSError as error:
        raise Invalid(f"the service account is not mounted: {error}") from error
    token = FileToken(service_account / "token")
    return Credentials(server=f"https://{address}:{port}", ca_data=ca_data, token_source=token)


def from_kubeconfig(path: str, context: str | None = None) -> Credentials:
    """The credentials in a kubeconfig of the operator's own."""
    configuration = _load(path, context)
    if not configuration.host.startswith(("http://", "https://")):
        raise Invalid(f"the kubeconfig {path} names no server")
    return Credentials(
        server=configuration.host,
        ca_data=_content(configuration.ssl_ca_cert),
        token_source=KubeconfigToken(path, context, configuration) if bearer_token(configuration) else None,
        client_cert_data=_content(configuration.cert_file),
        client_key_data=_content(configuration.key_file),
        tls_server_name=configuration.tls_server_name,
        insecure=not configuration.verify_ssl,
    )


class FileToken:
    """A token in a file that someone else replaces before it expires."""

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.monotonic, seconds: float = TOKEN_SECONDS
    ) -> None:
        self._path = path
        self._clock = clock
        self._seconds = seconds
        self._token = ""
        self._read_at = float("-inf")

    async def __call__(self, *, fresh: bool) -> str:
        """The token, read again once a minute or when the server refuses it."""
        if fresh or not self._token or self._clock() - self._read_at >= self._seconds:
            self._token = (await asyncio.to_thread(self._path.read_text, "utf-8")).strip()
            self._read_at = self._clock()
        return self._token


class KubeconfigToken:
    """A token of a kubeconfig, from the file itself, from another one or from an exec plugin."""

    def __init__(
        self,
        path: str,
        context: str | None,
        configuration: Configuration,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._context = context
        self._configuration = configuration
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._read_at = float("-inf")

    async def __call__(self, *, fresh: bool) -> str:
        """The token; a plugin runs once a minute at most, or once a second while tokens are refused."""
        async with self._lock:
            age = self._clock() - self._read_at
            if age >= TOKEN_SECONDS or (fresh and age >= 1.0):
                # A plugin is a process that may take seconds, so nothing of this runs in the event loop.
                self._token = await asyncio.to_thread(self._renew, fresh=fresh)
                self._read_at = self._clock()
            return self._token

    def _renew(self, *, fresh: bool) -> str:
        # Runs in a thread, with a context of its own.
        RENEWING.set(True)
        if fresh:
            self._configuration = _load(self._path, self._context)
        return bearer_token(self._configuration)


def bearer_token(configuration: Configuration) -> str:
    """The bare token of a configuration, renewed by its hook; empty where there is another identity."""
    header = configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.partition(" ")
    if scheme.lower() not in {"", "bearer"}:
        raise Invalid(f"the kubeconfig authenticates by {scheme}, which is not supported")
    return token.strip()


def _load(path: str, context: str | None) -> Configuration:
    # A pod never comes here, and need not pay 0.3 s and 35 MB for these modules.
    from kubernetes.client import Configuration  # noqa: PLC0415
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415

    configuration = Configuration()
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path, context=context, client_configuration=configuration, persist_config=False
        )
    except (ConfigException, OSError) as error:
        raise Invalid(f"the kubeconfig {path} cannot be used: {error}") from error
    return configuration


def _content(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
