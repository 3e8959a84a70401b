"""Which addresses a kubeconfig may name: plain https URLs, and no host that hides what it is."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

MAX_LENGTH = 512
_HOST = re.compile(r"^(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$")
_PATH = re.compile(r"^(?:/[A-Za-z0-9_~:@!$&'()*+,=-][A-Za-z0-9._~:@!$&'()*+,=-]*)*/?$")
_NUMBER = re.compile(r"^(?:[0-9]+|0[xX][0-9a-fA-F]*)$")


class ServerProblem(ValueError):  # noqa: N818 -- what is wrong, to be shown beside the field
    """Why an address is refused, without a part of it."""


def check_server(url: str) -> str:
    """`url` if it is an https URL with a host and at most a port and a path."""
    if not url.startswith("https://") or len(url) > MAX_LENGTH:
        raise ServerProblem("is not an https URL")
    if not url.isascii() or not url.isprintable() or any(c in url for c in " \\@?#%"):
        raise ServerProblem("holds a character that has no place there")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ServerProblem("is not an https URL") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise ServerProblem("has no valid port")
    check_host(parts.hostname or "")
    if not _PATH.match(parts.path):
        raise ServerProblem("has a path that is not plain")
    return url


def check_host(host: str) -> str:
    """`host` if it is a name, or an address that a cluster can have.

    Link-local addresses are where clouds keep the credentials of the machine, so they are never a cluster's.
    Numbers that a resolver would take for an address in another notation are no names.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if len(host) > 253 or not _HOST.match(host) or _NUMBER.match(host.rstrip(".").split(".")[-1]):
            raise ServerProblem("has no valid host") from None
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    real = mapped or address
    if real.is_link_local or real.is_multicast or real.is_unspecified or getattr(real, "scope_id", None):
        raise ServerProblem("has an address that no cluster can have")
    return host
