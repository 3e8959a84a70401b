"""Kubeconfigs: some good ones, and many that must be refused, each with the field to be named."""

from __future__ import annotations

import base64
import copy
import json

import yaml

# A self-signed certificate of nobody, made for these tests; its key was thrown away.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUaaE3bfepIJgSqfkIoidMal4yy98wCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMjE5MzY0OFoYDzIxMjYxMDI5MTkz
NjQ4WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARISaU9Dquyw+eMIMhGu5D9JxbRyNiYXqotKh1nloAa3bO4QfuPTnMYK4XUsQ5E
i0Zn2iORTTXr9RN8vSfpsuKWo1MwUTAdBgNVHQ4EFgQUved3Gx7arkmWzjTefRnN
oAseDiMwHwYDVR0jBBgwFoAUved3Gx7arkmWzjTefRnNoAseDiMwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA+icHUjm63bG1XUCJlJPDioYZeoFN
hyj1svgHaBMRKycCIADwrDy2tUJpLQwyKQY8u2LAirzrm4WdhUfyQg5wdaRS
-----END CERTIFICATE-----
"""
NO_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n"
OLD_ENCRYPTED_KEY = KEY.replace("PRIVATE", "RSA PRIVATE").replace("MAAA", "Proc-Type: 4,ENCRYPTED\nMAAA")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CA = b64(CERTIFICATE)
GOOD = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {},
    "current-context": "main",
    "clusters": [
        {
            "name": "west",
            "cluster": {"server": "https://api.west.example:6443", "certificate-authority-data": CA},
        }
    ],
    "users": [{"name": "grid", "user": {"token": "s3cr3t-t0k3n"}}],
    "contexts": [{"name": "main", "context": {"cluster": "west", "user": "grid", "namespace": "default"}}],
}
CLUSTER, USER, CONTEXT = "clusters[0].cluster", "users[0].user", "contexts[0].context"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _):
        return True


def dump(config: object) -> bytes:
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False).encode()


def changed(path: str, value: object) -> bytes:
    """The good one with one thing put in its place, or removed where the value is `...`."""
    config = copy.deepcopy(GOOD)
    target = config
    *parents, last = path.replace("[", ".[").split(".")
    for part in parents:
        target = target[int(part[1:-1])] if part.startswith("[") else target[part]
    key = int(last[1:-1]) if last.startswith("[") else last
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return dump(config)


def user(**fields: object) -> bytes:
    return changed(USER, fields)


def cluster(**fields: object) -> bytes:
    return changed(
        CLUSTER, GOOD["clusters"][0]["cluster"] | {k.replace("_", "-"): v for k, v in fields.items()}
    )


def server(url: object) -> bytes:
    return cluster(server=url)


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": ["/tmp/owned"]}

HOSTILE: dict[str, tuple[bytes, str]] = {
    # what runs programs
    "exec": (user(token="t", exec=EXEC), f"{USER}.exec"),
    "exec alone": (user(exec=EXEC), f"{USER}.exec"),
    "exec of a user nobody uses": (
        changed("users", [*GOOD["users"], {"name": "spare", "user": {"exec": EXEC}}]),
        "users[1].user.exec",
    ),
    "exec in a cluster": (cluster(exec=EXEC), f"{CLUSTER}.exec"),
    "exec at the top": (changed("exec", EXEC), "exec"),
    "auth-provider gcp with cmd-path": (
        user(**{"auth-provider": {"name": "gcp", "config": {"cmd-path": "/bin/sh", "cmd-args": "-c id"}}}),
        f"{USER}.auth-provider",
    ),
    "auth-provider oidc": (user(**{"auth-provider": {"name": "oidc"}}), f"{USER}.auth-provider"),
    "key in another case": (user(Exec=EXEC), f"{USER}.Exec"),
    "key with a space": (user(**{"exec ": EXEC}), f"{USER}.exec"),
    "key that only looks the same": (changed(USER, {"tok\u0435n": "t"}), f"{USER}.tok\u0435n"),
    # what opens files
    "tokenFile": (user(tokenFile="/var/run/secrets/kubernetes.io/serviceaccount/token"), f"{USER}.tokenFile"),
    "token and tokenFile": (user(token="t", tokenFile="/etc/shadow"), f"{USER}.tokenFile"),
    "token-file": (user(**{"token-file": "/etc/shadow"}), f"{USER}.token-file"),
    "client-certificate": (
        user(**{"client-certificate": "/c", "client-key": "/k"}),
        f"{USER}.client-certificate",
    ),
    "client-key": (user(**{"client-key": "/etc/ssl/private/key.pem"}), f"{USER}.client-key"),
    "certificate-authority": (
        cluster(certificate_authority="/etc/passwd"),
        f"{CLUSTER}.certificate-authority",
    ),
    "CA data that is a path": (
        cluster(certificate_authority_data="/etc/passwd"),
        f"{CLUSTER}.certificate-authority-data",
    ),
    # who it claims to be
    "basic auth": (user(username="admin", password="admin"), f"{USER}.username"),
    "password": (user(token="t", password="p"), f"{USER}.password"),
    "impersonation": (user(token="t", **{"as": "system:admin"}), f"{USER}.as"),
    "impersonated groups": (user(token="t", **{"as-groups": ["system:masters"]}), f"{USER}.as-groups"),
    "impersonated uid": (user(token="t", **{"as-uid": "0"}), f"{USER}.as-uid"),
    "impersonated extras": (user(token="t", **{"as-user-extra": {}}), f"{USER}.as-user-extra"),
    "no identity": (user(), f"{USER}.client-certificate-data"),
    "token and certificate": (
        user(token="t", **{"client-certificate-data": CA, "client-key-data": b64(KEY)}),
        USER,
    ),
    "certificate without key": (user(**{"client-certificate-data": CA}), f"{USER}.client-key-data"),
    "key without certificate": (user(**{"client-key-data": b64(KEY)}), f"{USER}.client-certificate-data"),
    "a certificate that is none": (
        user(**{"client-certificate-data": b64(NO_CERTIFICATE), "client-key-data": b64(KEY)}),
        f"{USER}.client-certificate-data",
    ),
    "a chain whose second certificate is none": (
        user(**{"client-certificate-data": b64(CERTIFICATE + NO_CERTIFICATE), "client-key-data": b64(KEY)}),
        f"{USER}.client-certificate-data",
    ),
    "encrypted key": (
        user(
            **{
                "client-certificate-data": CA,
                "client-key-data": b64(KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            }
        ),
        f"{USER}.client-key-data",
    ),
    "encrypted key of old": (
        user(
            **{
                "client-certificate-data": CA,
                "client-key-data": b64(OLD_ENCRYPTED_KEY),
            }
        ),
        f"{USER}.client-key-data",
    ),
    "a certificate for a key": (
        user(**{"client-certificate-data": CA, "client-key-data": CA}),
        f"{USER}.client-key-data",
    ),
    "empty token": (user(token=""), f"{USER}.token"),
    "token with a header after it": (user(token="t\r\nX-Remote-User: admin"), f"{USER}.token"),
    "token with a line end": (user(token="token\n"), f"{USER}.token"),
    "token that is not ASCII": (user(token="t\u00f6ken"), f"{USER}.token"),
    "token with a space": (user(token="a b"), f"{USER}.token"),
    "token that is huge": (user(token="x" * 17_000), f"{USER}.token"),
    "token that is a list": (user(token=["t"]), f"{USER}.token"),
    "token that is null": (user(token=None), f"{USER}.token"),
    "extensions of a user": (user(token="t", extensions=[]), f"{USER}.extensions"),
    # where it leads
    "http": (server("http://api.west.example"), f"{CLUSTER}.server"),
    "file": (server("file:///etc/passwd"), f"{CLUSTER}.server"),
    "unix socket": (server("unix:///var/run/docker.sock"), f"{CLUSTER}.server"),
    "HTTPS in capitals": (server("HTTPS://api.west.example"), f"{CLUSTER}.server"),
    "no scheme": (server("api.west.example:6443"), f"{CLUSTER}.server"),
    "no host": (server("https://"), f"{CLUSTER}.server"),
    "port alone": (server("https://:6443"), f"{CLUSTER}.server"),
    "user in the URL": (server("https://admin:pw@api.west.example"), f"{CLUSTER}.server"),
    "host behind a user": (server("https://good.example@evil.example"), f"{CLUSTER}.server"),
    "query": (server("https://api.west.example/?x=1"), f"{CLUSTER}.server"),
    "fragment": (server("https://api.west.example/#x"), f"{CLUSTER}.server"),
    "empty query": (server("https://api.west.example?"), f"{CLUSTER}.server"),
    "backslash": (server("https://good.example\\@evil.example"), f"{CLUSTER}.server"),
    "line end in the URL": (server("https://api.west.example/\r\nHost: x"), f"{CLUSTER}.server"),
    "tab in the URL": (server("https://api.west\t.example"), f"{CLUSTER}.server"),
    "space before the URL": (server(" https://api.west.example"), f"{CLUSTER}.server"),
    "percent in the host": (server("https://api%2ewest.example"), f"{CLUSTER}.server"),
    "dots in the path": (server("https://api.west.example/k8s/../../admin"), f"{CLUSTER}.server"),
    "double slash in the path": (server("https://api.west.example//evil.example"), f"{CLUSTER}.server"),
    "port 0": (server("https://api.west.example:0"), f"{CLUSTER}.server"),
    "port too large": (server("https://api.west.example:65536"), f"{CLUSTER}.server"),
    "port that is no number": (server("https://api.west.example:https"), f"{CLUSTER}.server"),
    "empty port": (server("https://api.west.example:"), f"{CLUSTER}.server"),
    "metadata service": (server("https://169.254.169.254/latest"), f"{CLUSTER}.server"),
    "metadata service in IPv6": (server("https://[::ffff:169.254.169.254]"), f"{CLUSTER}.server"),
    "link-local": (server("https://[fe80::1]"), f"{CLUSTER}.server"),
    "link-local with a zone": (server("https://[fe80::1%25eth0]"), f"{CLUSTER}.server"),
    "unspecified": (server("https://0.0.0.0:6443"), f"{CLUSTER}.server"),
    "multicast": (server("https://224.0.0.1"), f"{CLUSTER}.server"),
    "address as one number": (server("https://2852039166"), f"{CLUSTER}.server"),
    "address in hexadecimal": (server("https://0xa9fea9fe"), f"{CLUSTER}.server"),
    "address in octal": (server("https://0251.0376.0251.0376"), f"{CLUSTER}.server"),
    "short address": (server("https://127.1"), f"{CLUSTER}.server"),
    "broken IPv6": (server("https://[::1"), f"{CLUSTER}.server"),
    "letters of other scripts": (server("https://\u0430pi.west.example"), f"{CLUSTER}.server"),
    "full-width letters": (server("https://\uff41pi.west.example"), f"{CLUSTER}.server"),
    "long URL": (server("https://api.west.example/" + "x" * 600), f"{CLUSTER}.server"),
    "server that is a mapping": (server({"host": "x"}), f"{CLUSTER}.server"),
    "no server": (changed(f"{CLUSTER}.server", ...), f"{CLUSTER}.server"),
    "proxy": (cluster(proxy_url="http://proxy.evil.example:3128"), f"{CLUSTER}.proxy-url"),
    # whom it trusts
    "insecure": (
        changed(CLUSTER, {"server": "https://a", "insecure-skip-tls-verify": True}),
        f"{CLUSTER}.insecure-skip-tls-verify",
    ),
    "insecure with a CA": (cluster(insecure_skip_tls_verify=True), f"{CLUSTER}.insecure-skip-tls-verify"),
    "insecure as a word": (cluster(insecure_skip_tls_verify="yes"), f"{CLUSTER}.insecure-skip-tls-verify"),
    "no CA": (changed(f"{CLUSTER}.certificate-authority-data", ...), f"{CLUSTER}.certificate-authority-data"),
    "empty CA": (cluster(certificate_authority_data=""), f"{CLUSTER}.certificate-authority-data"),
    "CA that is no base64": (
        cluster(certificate_authority_data="***"),
        f"{CLUSTER}.certificate-authority-data",
    ),
    "CA that is no PEM": (
        cluster(certificate_authority_data=b64("hello")),
        f"{CLUSTER}.certificate-authority-data",
    ),
    "CA that is no certificate": (
        cluster(certificate_authority_data=b64(NO_CERTIFICATE)),
        f"{CLUSTER}.certificate-authority-data",
    ),
    "CA that is a key": (
        cluster(certificate_authority_data=b64(KEY)),
        f"{CLUSTER}.certificate-authority-data",
    ),
    "CA in binary": (
        cluster(certificate_authority_data=base64.b64encode(b"\xff\xfe").decode()),
        f"{CLUSTER}.certificate-authority-data",
    ),
    "server name with a slash": (cluster(tls_server_name="a/b"), f"{CLUSTER}.tls-server-name"),
    "server name that is empty": (cluster(tls_server_name=""), f"{CLUSTER}.tls-server-name"),
    "server name that is long": (cluster(tls_server_name="a." * 200), f"{CLUSTER}.tls-server-name"),
    "disable-compression": (cluster(disable_compression=True), f"{CLUSTER}.disable-compression"),
    "extensions of a cluster": (cluster(extensions=[{"name": "x"}]), f"{CLUSTER}.extensions"),
    "unknown field": (cluster(future_field="x"), f"{CLUSTER}.future-field"),
    # the shape of the file
    "no bytes": (b"", "(file)"),
    "null": (b"null", "(file)"),
    "a list": (b"- a\n- b\n", "(file)"),
    "a text": (b"hello", "(file)"),
    "binary": (bytes(range(256)), "(file)"),
    "not UTF-8": (b"apiVersion: \xff", "(file)"),
    "UTF-16": (dump(GOOD).decode().encode("utf-16"), "(file)"),
    "a tab": (b"a:\n\t- b", "(file)"),
    "too large": (dump(GOOD) + b"#" * 70_000, "(file)"),
    "alias": (b"a: &a [x]\nb: *a\n", "(file)"),
    "anchor alone": (b"apiVersion: &v v1\n", "(file)"),
    "a billion laughs": (
        b"a: &a [x,x,x,x]\n"
        + b"".join(
            f"{c}: &{c} [*{p},*{p},*{p},*{p}]\n".encode() for p, c in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "(file)",
    ),
    "merge key": (b"<<: {exec: x}\n" + dump(GOOD), "<<"),
    "python object": (b"!!python/object/apply:os.system ['touch /tmp/owned']", "(file)"),
    "python name": (b"apiVersion: !!python/name:os.system\n", "(file)"),
    "binary tag": (b"apiVersion: !!binary aGVsbG8=\n", "(file)"),
    "local tag": (b"apiVersion: !include /etc/passwd\n", "(file)"),
    "two documents": (dump(GOOD) + b"---\n" + dump(GOOD), "(file)"),
    "key that is there twice": (dump(GOOD) + b"kind: Config\n", "(file)"),
    "key that is a list": (b"? [a]\n: b\n", "(file)"),
    "deep": (b"a: " + b"[" * 5000 + b"]" * 5000, "(file)"),
    "deep mappings": (b"{a: " * 5000 + b"}" * 5000, "(file)"),
    "JSON with an unknown field": (json.dumps({**GOOD, "exec": {}}).encode(), "exec"),
    "other version": (changed("apiVersion", "v2"), "apiVersion"),
    "other kind": (changed("kind", "Secret"), "kind"),
    "preferences": (changed("preferences", {"colors": True}), "preferences"),
    "extensions": (changed("extensions", []), "extensions"),
    "no clusters": (changed("clusters", ...), "clusters"),
    "empty users": (changed("users", []), "users"),
    "contexts that are a mapping": (changed("contexts", {"main": {}}), "contexts"),
    "cluster that is null": (changed("clusters[0]", None), "clusters[0]"),
    "cluster without a name": (changed("clusters[0].name", ...), "clusters[0].name"),
    "cluster without content": (changed(CLUSTER, ...), CLUSTER),
    "user that is a text": (changed(USER, "token"), USER),
    "entry with more": (changed("users[0].exec", EXEC), "users[0].exec"),
    "name that is there twice": (changed("users", GOOD["users"] * 2), "users[1].name"),
    "context with extensions": (changed(f"{CONTEXT}.extensions", []), f"{CONTEXT}.extensions"),
    "context of no cluster": (changed(f"{CONTEXT}.cluster", "east"), f"{CONTEXT}.cluster"),
    "context of no user": (changed(f"{CONTEXT}.user", ...), f"{CONTEXT}.user"),
    "current-context of nothing": (changed("current-context", "other"), "current-context"),
    "current-context that is a list": (changed("current-context", ["main"]), "current-context"),
    "no current-context among several": (
        changed("contexts", [*GOOD["contexts"], {**GOOD["contexts"][0], "name": "b"}]).replace(
            b"current-context: main\n", b""
        ),
        "current-context",
    ),
}

BENIGN: dict[str, bytes] = {
    "token": changed("kind", "Config"),
    "JSON": json.dumps(GOOD).encode(),
    "one context and none chosen": changed("current-context", ...),
    "empty current-context": changed("current-context", ""),
    "no version": changed("apiVersion", ...),
    "null preferences": changed("preferences", None),
    "server name": cluster(tls_server_name="kubernetes.default"),
    "secure by word": cluster(insecure_skip_tls_verify=False),
    "path": server("https://rancher.example/k8s/clusters/c-m-abc123"),
    "trailing slash": server("https://api.west.example/"),
    "IPv4": server("https://10.0.0.1:6443"),
    "IPv6": server("https://[fd00::1]:6443"),
    "loopback": server("https://127.0.0.1:40000"),
    "underscore": server("https://api_west.example"),
    "wrapped CA": cluster(
        certificate_authority_data="\n".join(CA[i : i + 64] for i in range(0, len(CA), 64))
    ),
    "several CAs": cluster(certificate_authority_data=b64(CERTIFICATE * 3)),
    "client certificate": user(**{"client-certificate-data": CA, "client-key-data": b64(KEY)}),
    "token that looks like a number": changed(USER, {"token": "1234567890"}).replace(b"'", b""),
}
