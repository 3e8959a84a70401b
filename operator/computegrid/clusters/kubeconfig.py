"""The kubeconfig of a member cluster, out of a Secret that its admin, or an attacker, filled.

A kubeconfig can name programs to run, files to read and proxies to trust, and the usual loaders do all of it
at load time: that was remote code execution in controllers before (CVE-2022-24817, CVE-2024-25133). So this
reader knows an address, a CA and an identity, all inline, and refuses every other field by its name, wherever
it stands. It starts no process, opens no file, makes no connection, and never repeats a value in a message.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from dataclasses import dataclass

from computegrid.clusters.addresses import ServerProblem, check_host, check_server
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.errors import Invalid, KubeconfigError
from computegrid.clusters.expiry import end_of_certificates
from computegrid.clusters.plain_yaml import Plain, load

MAX_BYTES = 64 << 10
MAX_TOKEN = 16 << 10

_TOP = "apiVersion, kind, clusters, users, contexts, current-context, preferences (empty)"
_CLUSTER = "server, certificate-authority-data, tls-server-name"
_USER = "token, or client-certificate-data with client-key-data"
_CONTEXT = "cluster, user, namespace"
_ENTRY = {"clusters": "cluster", "users": "user", "contexts": "context"}
_FIELDS = {
    "clusters": (
        {"server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify"},
        _CLUSTER,
    ),
    "users": ({"token", "client-certificate-data", "client-key-data"}, _USER),
    "contexts": ({"cluster", "user", "namespace"}, _CONTEXT),
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster, user or context, and where in the file it stands."""

    path: str
    fields: dict[str, str]


def parse(data: bytes, *, insecure_allowed: bool = False) -> Credentials:
    """The credentials in a kubeconfig.

    `insecure_allowed` is the word of the `MemberCluster`; without it, and without the file's own, the server
    must prove itself against the CA in the file.
    """
    top = _top(data)
    entries = {section: _entries(top, section) for section in _ENTRY}
    context = _current(top, entries["contexts"])
    cluster = _resolve(context, "cluster", entries["clusters"])
    user = _resolve(context, "user", entries["users"])
    insecure = _insecure(cluster, allowed=insecure_allowed)
    certificate, key = _client_certificate(user)
    return Credentials(
        server=_server(cluster),
        ca_data=_ca(cluster, insecure=insecure),
        token=_token(user),
        client_cert_data=certificate,
        client_key_data=key,
        tls_server_name=_server_name(cluster),
        insecure=insecure,
    )


# -- the shape of the file


def _top(data: bytes) -> dict[str, Plain]:
    if len(data) > MAX_BYTES:
        raise KubeconfigError("(file)", f"at most {MAX_BYTES} bytes", f"has {len(data)} bytes")
    try:
        top = load(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise KubeconfigError("(file)", "UTF-8", "is not text") from None
    except Invalid as error:
        raise KubeconfigError("(file)", "one plain YAML mapping", error.message) from None
    if not isinstance(top, dict):
        raise KubeconfigError("(file)", "one plain YAML mapping", "is not a mapping")
    for key in top:
        if key not in {*_ENTRY, "apiVersion", "kind", "current-context", "preferences"}:
            raise KubeconfigError(key, _TOP)
    if top.get("preferences"):
        raise KubeconfigError("preferences", "nothing in it")
    for key, value in (("apiVersion", "v1"), ("kind", "Config")):
        if top.get(key, value) != value:
            raise KubeconfigError(key, value)
    return top


def _entries(top: dict[str, Plain], section: str) -> dict[str, _Entry]:
    """The named entries of a section, each with known fields only: also those that no context uses."""
    raw = top.get(section)
    if not isinstance(raw, list) or not raw:
        raise KubeconfigError(section, "a list with at least one entry", "is missing or empty")
    inner = _ENTRY[section]
    found: dict[str, _Entry] = {}
    for index, entry in enumerate(raw):
        path = f"{section}[{index}]"
        if not isinstance(entry, dict):
            raise KubeconfigError(path, f"a mapping with name and {inner}", "is not a mapping")
        for key in entry:
            if key not in {"name", inner}:
                raise KubeconfigError(f"{path}.{key}", f"name, {inner}")
        name = entry.get("name")
        if not isinstance(name, str) or name in found:
            raise KubeconfigError(f"{path}.name", "a name of its own", "is missing or there twice")
        found[name] = _Entry(f"{path}.{inner}", _fields(f"{path}.{inner}", entry.get(inner), section))
    return found


def _fields(path: str, raw: Plain, section: str) -> dict[str, str]:
    known, allowed = _FIELDS[section]
    if not isinstance(raw, dict):
        raise KubeconfigError(path, allowed, "is not a mapping")
    fields: dict[str, str] = {}
    for key, value in raw.items():
        if key not in known:
            raise KubeconfigError(f"{path}.{key}", allowed)
        if not isinstance(value, str):
            raise KubeconfigError(f"{path}.{key}", "text", "is empty or not text")
        fields[key] = value
    return fields


def _current(top: dict[str, Plain], contexts: dict[str, _Entry]) -> _Entry:
    current = top.get("current-context")
    if current is None or current == "":
        if len(contexts) == 1:
            return next(iter(contexts.values()))
        raise KubeconfigError(
            "current-context", "the name of a context", "is missing and there are several contexts"
        )
    if not isinstance(current, str) or current not in contexts:
        raise KubeconfigError("current-context", "the name of a context", "names no context")
    return contexts[current]


def _resolve(context: _Entry, key: str, entries: dict[str, _Entry]) -> _Entry:
    name = context.fields.get(key)
    if name is None or name not in entries:
        raise KubeconfigError(f"{context.path}.{key}", f"the name of a {key} in the file", "names none")
    return entries[name]


# -- the cluster


def _server(cluster: _Entry) -> str:
    path = f"{cluster.path}.server"
    try:
        return check_server(cluster.fields.get("server", ""))
    except ServerProblem as problem:
        raise KubeconfigError(
            path, "https://host[:port][/path] without user, query or fragment", str(problem)
        ) from None


def _server_name(cluster: _Entry) -> str | None:
    name = cluster.fields.get("tls-server-name")
    if name is None:
        return None
    try:
        return check_host(name)
    except ServerProblem as problem:
        raise KubeconfigError(f"{cluster.path}.tls-server-name", "a host name", str(problem)) from None


def _insecure(cluster: _Entry, *, allowed: bool) -> bool:
    value = cluster.fields.get("insecure-skip-tls-verify", "false")
    if value not in {"true", "false"}:
        raise KubeconfigError(f"{cluster.path}.insecure-skip-tls-verify", "true or false", "is neither")
    if value == "true" and not allowed:
        raise KubeconfigError(
            f"{cluster.path}.insecure-skip-tls-verify",
            f"{_CLUSTER}; true only where the MemberCluster sets insecureSkipTLSVerify",
        )
    return value == "true"


def _ca(cluster: _Entry, *, insecure: bool) -> bytes | None:
    path = f"{cluster.path}.certificate-authority-data"
    if "certificate-authority-data" not in cluster.fields:
        if insecure:
            return None
        raise KubeconfigError(path, "the certificates of the CA as base64 of PEM", "is missing")
    if insecure:
        raise KubeconfigError(path, "either a CA or insecure-skip-tls-verify", "excludes the other")
    pem = _pem(path, cluster.fields["certificate-authority-data"], {"CERTIFICATE", "TRUSTED CERTIFICATE"})
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise KubeconfigError(
            path, "the certificates of the CA as base64 of PEM", "holds no certificate"
        ) from None
    return pem


# -- the user


def _token(user: _Entry) -> str | None:
    token = user.fields.get("token")
    if token is None:
        return None
    if len(user.fields) > 1:
        raise KubeconfigError(user.path, _USER, "mixes a token with a client certificate")
    # What is no plain text could end the header and begin another.
    if not token or len(token) > MAX_TOKEN or not token.isascii() or not all("!" <= c <= "~" for c in token):
        raise KubeconfigError(
            f"{user.path}.token", "one line of printable ASCII without spaces", "is not that"
        )
    return token


def _client_certificate(user: _Entry) -> tuple[bytes | None, bytes | None]:
    if "token" in user.fields:
        return None, None
    names = ("client-certificate-data", "client-key-data")
    for name in names:
        if name not in user.fields:
            raise KubeconfigError(f"{user.path}.{name}", _USER, "is missing")
    certificate = _pem(f"{user.path}.{names[0]}", user.fields[names[0]], {"CERTIFICATE"})
    try:
        end_of_certificates(certificate)
    except ValueError:
        raise KubeconfigError(
            f"{user.path}.{names[0]}", "a certificate as base64 of PEM", "holds none that can be read"
        ) from None
    keys = {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "EC PARAMETERS"}
    key = _pem(f"{user.path}.{names[1]}", user.fields[names[1]], keys)
    if b"Proc-Type" in key:
        raise KubeconfigError(f"{user.path}.{names[1]}", "a key without a pass phrase", "is encrypted")
    return certificate, key


def _pem(path: str, text: str, labels: set[str]) -> bytes:
    """Base64 of PEM with blocks of these labels only."""
    allowed = f"base64 of PEM, of {' or '.join(sorted(labels))}"
    try:
        pem = base64.b64decode("".join(text.split()), validate=True)
        begun = [line[11:-5] for line in pem.decode("ascii").splitlines() if line.startswith("-----BEGIN ")]
    except (binascii.Error, ValueError):
        raise KubeconfigError(path, allowed, "is not base64 of PEM") from None
    if not begun or not set(begun) <= labels:
        raise KubeconfigError(path, allowed, "holds something else")
    return pem
