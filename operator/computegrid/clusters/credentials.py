"""What is needed to reach one API server and prove who we are, and the TLS context made of it.

Nothing here opens a path that a kubeconfig could name: CA certificates are loaded from memory, and the client
certificate and key go through a file that exists in memory only.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from computegrid.clusters.errors import Invalid


class TokenSource(Protocol):
    """Where a bearer token comes from when it can change."""

    async def __call__(self, *, fresh: bool) -> str:
        """The token; `fresh` means that the server refused the last one, so nothing cached will do."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """One API server and one identity; `repr` shows no secret."""

    server: str
    ca_data: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_source: TokenSource | None = field(default=None, repr=False)
    client_cert_data: bytes | None = field(default=None, repr=False)
    client_key_data: bytes | None = field(default=None, repr=False)
    tls_server_name: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.client_cert_data is None) != (self.client_key_data is None):
            raise Invalid("a client certificate and its key come together")
        if self.token is not None and self.token_source is not None:
            raise Invalid("a token and a source of tokens exclude each other")


def ssl_context(credentials: Credentials) -> ssl.SSLContext | None:
    """The TLS context for these credentials; None for a server that speaks plain HTTP.

    Without CA data the trust store of the system decides, which the kubeconfig of a member never leads to.
    """
    if not credentials.server.startswith("https://"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if credentials.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif credentials.ca_data is not None:
            context.load_verify_locations(cadata=credentials.ca_data.decode("ascii"))
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if credentials.client_cert_data is not None and credentials.client_key_data is not None:
            pem = credentials.client_cert_data.rstrip() + b"\n" + credentials.client_key_data
            with _memory_file(pem) as path:
                context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"the certificates for {credentials.server} cannot be loaded: {error}") from error
    return context


def _no_password() -> NoReturn:
    # Without this OpenSSL would ask for the pass phrase on the terminal, and wait.
    raise ValueError("an encrypted key cannot be used")


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path that OpenSSL can open, for content that must never be on a disk.

    `SSLContext.load_cert_chain` takes paths only. On Linux a memfd is such a file without a name; elsewhere
    a file that only we can read stands in for the moment of loading.
    """
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "client.pem")
            path.touch(mode=0o600)
            path.write_bytes(content)
            yield str(path)
        return
    descriptor = os.memfd_create("client.pem", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=True) as file:  # noqa: PTH123 -- a descriptor, not a path
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
