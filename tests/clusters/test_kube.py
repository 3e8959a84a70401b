"""The HTTP port against servers on loopback: requests that are right, answers that nobody should trust."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import ssl
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from computegrid.clusters import errors
from computegrid.clusters.credentials import Credentials, ssl_context
from computegrid.clusters.kube import KubePort
from computegrid.clusters.port import NODES, PODS, ClusterPort, Resource
from computegrid.clusters.transport import Limits
from tests.clusters.pki import issue

JOBS = Resource("computegrid.dev", "v1alpha1", "aijobs", namespaced=True)
SMALL = Limits(page_bytes=4000, object_bytes=1000, line_bytes=500, list_bytes=10_000, list_pages=20)


def answer(body, status=200, **headers):
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )


class Server:
    """Records requests; answers with what `reply` makes of each."""

    def __init__(self, reply):
        self.reply = reply
        self.requests = []

    async def handle(self, request):
        body = await request.read()
        self.requests.append(
            (request.method, request.path_qs, body and orjson.loads(body), dict(request.headers))
        )
        result = self.reply(request)
        return await result if asyncio.iscoroutine(result) else result


@asynccontextmanager
async def serving(reply, *, tls=None, credentials=None, **options):
    server = Server(reply)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    number = runner.addresses[0][1]
    scheme = "https" if tls else "http"
    port = KubePort(
        Credentials(f"{scheme}://127.0.0.1:{number}", **(credentials or {"token": "t0k3n"})), **options
    )
    try:
        yield server, port
    finally:
        await port.close()
        await runner.cleanup()


def is_a_port(port: ClusterPort) -> ClusterPort:
    return port


async def test_verbs_become_requests():
    seen = []
    options = {"field_manager": "grid", "on_request": lambda *call: seen.append(call)}
    async with serving(lambda _: answer({"kind": "Pod"}), **options) as (server, port):
        is_a_port(port)
        pod = {"metadata": {"name": "p", "namespace": "n", "resourceVersion": "7"}}
        await port.get(PODS, "p", namespace="n")
        await port.create(PODS, pod)
        await port.create(JOBS, {"metadata": {"name": "j"}}, namespace="n")
        await port.update(PODS, pod)
        await port.update_status(JOBS, pod)
        await port.patch(PODS, "p", {"a": None}, namespace="n")
        await port.patch(
            PODS, "p", [{"op": "test"}], namespace="n", subresource="status", content_type="json"
        )
        await port.delete(
            PODS, "p", namespace="n", uid="u", resource_version="7", grace_seconds=0, propagation="Background"
        )
        await port.delete_collection(PODS, namespace="n", label_selector="a=b,c in (d)", grace_seconds=3)
        await port.version()
    assert [(method, path) for method, path, *_ in server.requests] == [
        ("GET", "/api/v1/namespaces/n/pods/p"),
        ("POST", "/api/v1/namespaces/n/pods?fieldManager=grid"),
        ("POST", "/apis/computegrid.dev/v1alpha1/namespaces/n/aijobs?fieldManager=grid"),
        ("PUT", "/api/v1/namespaces/n/pods/p?fieldManager=grid"),
        ("PUT", "/apis/computegrid.dev/v1alpha1/namespaces/n/aijobs/p/status?fieldManager=grid"),
        ("PATCH", "/api/v1/namespaces/n/pods/p?fieldManager=grid"),
        ("PATCH", "/api/v1/namespaces/n/pods/p/status?fieldManager=grid"),
        ("DELETE", "/api/v1/namespaces/n/pods/p"),
        ("DELETE", "/api/v1/namespaces/n/pods?labelSelector=a%3Db%2Cc+in+%28d%29"),
        ("GET", "/version"),
    ]
    headers = [request[3] for request in server.requests]
    assert all(h["Authorization"] == "Bearer t0k3n" for h in headers)
    assert all(h["User-Agent"].startswith("computegrid/") for h in headers)
    assert headers[5]["Content-Type"] == "application/merge-patch+json"
    assert headers[6]["Content-Type"] == "application/json-patch+json"
    assert server.requests[7][2] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }
    assert [call[:3] for call in seen][:2] == [("get", "pods", 200), ("create", "pods", 200)]
    assert all(0 < call[3] < 5 for call in seen)


def status(code, reason="", message="no", **details):
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


CASES = [
    (400, {}, errors.Invalid),
    (401, {}, errors.Unauthorized),
    (403, {}, errors.Forbidden),
    (404, {}, errors.NotFound),
    (405, {}, errors.Invalid),
    (408, {}, errors.Transient),
    (409, {"reason": "AlreadyExists"}, errors.Conflict),
    (410, {"reason": "Expired"}, errors.Gone),
    (413, {}, errors.Invalid),
    (422, {"causes": [{"field": "spec.x", "reason": "FieldValueInvalid", "message": "bad"}]}, errors.Invalid),
    (429, {"retryAfterSeconds": 3}, errors.Transient),
    (500, {}, errors.Transient),
    (503, {}, errors.Transient),
    (504, {"causes": [{"reason": "ResourceVersionTooLarge"}]}, errors.Transient),
    (301, {}, errors.Malformed),
    (307, {}, errors.Malformed),
    (599, {}, errors.Transient),
]


@pytest.mark.parametrize(("code", "details", "kind"), CASES, ids=[str(case[0]) for case in CASES])
async def test_each_status_is_an_exception_of_its_own(code, details, kind):
    reason = details.pop("reason", "")
    body = status(code, reason, "\x1b[31mno\n" + "x" * 5000, **details)
    location = {"Location": "http://127.0.0.1:1/"} if code < 400 else {}
    async with serving(lambda _: answer(body, code, **location)) as (server, port):
        with pytest.raises(errors.ClusterError) as caught:
            await port.get(PODS, "p", namespace="n")
        assert len(server.requests) == 1
    error = caught.value
    assert type(error) is kind
    assert error.code == code
    assert len(error.message) <= errors.MESSAGE_LIMIT
    assert error.message.isprintable()
    if code == 422:
        assert str(error.causes[0]) == "spec.x: bad"
    if code == 429:
        assert error.retry_after == 3
    if code == 504:
        assert error.has_cause("ResourceVersionTooLarge")


@pytest.mark.parametrize(
    "body", [b"", b"<html>bad gateway</html>", b"[1]", b'"x"', b"\xff\xfe", b'{"message": 5}']
)
async def test_a_refusal_without_a_status_object(body):
    async with serving(lambda _: web.Response(body=body, status=502)) as (_, port):
        with pytest.raises(errors.Transient) as caught:
            await port.get(NODES, "n")
        assert caught.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_an_answer_that_is_no_object(body):
    async with serving(lambda _: web.Response(body=body)) as (_, port):
        with pytest.raises(errors.Malformed):
            await port.get(NODES, "n")


def page(names, token="", version="10", **more):
    items = [{"metadata": {"name": name}} for name in names]
    return answer({"items": items, "metadata": {"resourceVersion": version, "continue": token}, **more})


async def test_a_list_joins_its_pages():
    def reply(request):
        assert request.query["limit"] == "500"
        return page("cd") if request.query.get("continue") == "n=x&t" else page("ab", "n=x&t")

    async with serving(reply) as (server, port):
        result = await port.list(
            PODS, namespace="n", label_selector="a=b", field_selector="status.phase!=Failed"
        )
        assert [item["metadata"]["name"] for item in result.items] == list("abcd")
        assert result.resource_version == "10"
        assert "labelSelector=a%3Db" in server.requests[1][1]
        assert "fieldSelector=status.phase%21%3DFailed" in server.requests[1][1]
        names = await port.list(
            PODS, transform=lambda o: None if o["metadata"]["name"] == "b" else {"n": o["metadata"]["name"]}
        )
        assert [item["n"] for item in names.items] == list("acd")


async def test_a_list_starts_anew_when_its_token_expires_or_its_pages_disagree():
    pages = [
        page("ab", "t"),
        answer(status(410, "Expired"), 410),
        page("ab", "t"),
        page("cd", version="11"),
        page("e", "t", version="12"),
        page("f", version="12"),
    ]
    async with serving(lambda _: pages.pop(0)) as (_, port):
        result = await port.list(PODS)
        assert [item["metadata"]["name"] for item in result.items] == ["e", "f"]
        assert result.resource_version == "12"


async def test_a_list_that_is_never_whole_is_given_up():
    def reply(request):
        return page("b", version="11") if "continue" in request.query else page("a", "t")

    async with serving(reply) as (_, port):
        with pytest.raises(errors.Malformed):
            await port.list(PODS)


@pytest.mark.parametrize(
    "body",
    [
        {"items": [1], "metadata": {"resourceVersion": "1"}},
        {"items": {}, "metadata": {"resourceVersion": "1", "continue": 5}},
        {"items": "xx", "metadata": {"resourceVersion": "1"}},
        {"items": []},
        {"items": [], "metadata": {"resourceVersion": 5}},
        {"items": [], "metadata": []},
    ],
)
async def test_lists_of_a_wrong_shape(body):
    async with serving(lambda _: answer(body)) as (_, port):
        with pytest.raises(errors.Malformed):
            await port.list(NODES)


async def test_an_empty_list_may_say_null():
    async with serving(lambda _: answer({"items": None, "metadata": {"resourceVersion": "1"}})) as (_, port):
        assert (await port.list(NODES)).items == []


async def chunked(request, chunks, pause=0.0):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
        await asyncio.sleep(pause)
    return response


def forever(chunk):
    while True:
        yield chunk


async def test_caps():
    async def endless(request):
        try:
            return await chunked(request, forever(b"x" * 300))
        except ConnectionResetError:
            return web.Response()

    def reply(request):
        match request.path.rsplit("/", 1)[-1]:
            case "announced":
                return web.Response(body=b" " * 1001)
            case "nodes":
                return answer({"items": [], "x": "y" * 4000, "metadata": {"resourceVersion": "1"}})
            case "pods":
                return page("a", "again")
            case "services":
                return answer(
                    {"items": [], "x": "y" * 3000, "metadata": {"resourceVersion": "1", "continue": "t"}}
                )
            case "refused":
                return web.Response(status=500, body=b"x" * 1001)
        return endless(request)

    services = Resource("", "v1", "services", namespaced=True)
    async with serving(reply, limits=SMALL) as (server, port):
        for name in ("announced", "endless", "refused"):
            with pytest.raises(errors.Malformed, match="above the cap"):
                await port.get(NODES, name)
        with pytest.raises(errors.Malformed, match="above the cap"):
            await port.list(NODES)
        with pytest.raises(errors.Malformed, match="20 pages"):
            await port.list(PODS)
        with pytest.raises(errors.Malformed, match="10000 bytes"):
            await port.list(services)
        with pytest.raises(errors.Malformed, match="longer than 500"):
            await collect(port, JOBS)
        assert len(server.requests) == 4 + 20 + 4 + 1


async def test_a_compressed_answer_is_not_unpacked():
    body = gzip.compress(b"{" + b" " * 100_000 + b"}")
    headers = {"Content-Encoding": "gzip"}
    async with serving(lambda _: web.Response(body=body, headers=headers)) as (server, port):
        with pytest.raises(errors.Malformed):
            await port.get(NODES, "n")
        assert server.requests[0][3]["Accept-Encoding"] == "identity"


async def collect(port, resource=PODS, *, into=None):
    events = [] if into is None else into
    async for event in port.watch(resource, resource_version="5", timeout=9):
        events += [event]
    return events


def open_files():
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def line(kind, name="a", version="6"):
    return (
        orjson.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}})
        + b"\n"
    )


async def test_a_watch_cuts_lines_wherever_chunks_end():
    stream = (
        line("ADDED") + b"\n\r\n".replace(b"\r", b"") + line("BOOKMARK", "", "9") + line("GROWN", "c", "10")
    )
    for size in (1, 7, 64, len(stream)):
        chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
        async with serving(lambda request, chunks=chunks: chunked(request, chunks)) as (server, port):
            events = await collect(port)
        assert [(event.type, event.resource_version) for event in events] == [
            ("ADDED", "6"),
            ("BOOKMARK", "9"),
            ("GROWN", "10"),
        ]
    query = server.requests[0][1]
    assert "watch=true&allowWatchBookmarks=true&resourceVersion=5&timeoutSeconds=9" in query


BROKEN = {
    "half a line": line("ADDED")[:-5],
    "no JSON": b"hello\n",
    "invalid UTF-8": b'{"type": "ADDED", "object": {"metadata": {"name": "\xff"}}}\n',
    "no object": b'{"type": "ADDED"}\n',
    "no type": b'{"object": {}}\n',
    "object is a list": b'{"type": "ADDED", "object": []}\n',
    "type is a number": b'{"type": 1, "object": {}}\n',
    "a list": b"[]\n",
    "a long line": b"x" * 600 + b"\n",
}


@pytest.mark.parametrize("tail", BROKEN.values(), ids=BROKEN.keys())
async def test_a_watch_that_breaks_gives_what_came_before(tail):
    async with serving(lambda request: chunked(request, [line("ADDED"), tail]), limits=SMALL) as (_, port):
        events = []
        with pytest.raises(errors.Malformed):
            await collect(port, into=events)
        assert len(events) == (0 if len(tail) > 500 else 1)


async def test_a_watch_whose_connection_is_cut():
    async def cut(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(line("ADDED") + b"{")
        request.transport.abort()
        return response

    async with serving(cut) as (_, port):
        with pytest.raises(errors.Transient):
            await collect(port)


async def test_a_watch_that_is_left_closes_its_connection():
    codes = []

    async def endless(request):
        return await chunked(request, forever(line("ADDED")), 0.01)

    async with serving(endless, on_request=lambda *call: codes.append(call[:3])) as (_, port):
        watch = port.watch(PODS, resource_version="5")
        async for _ in watch:
            break
        await watch.aclose()
        assert codes == [("watch", "pods", 200)]


async def test_time_outs_and_refused_connections_are_transient():
    codes = []

    async def hang(request):
        if request.path.endswith("drip"):
            with suppress(ConnectionResetError):
                await chunked(request, forever(b" "), 0.01)
        await asyncio.sleep(5)
        return answer({})

    async with serving(hang, on_request=lambda *call: codes.append(call[2])) as (_, port):
        with pytest.raises(errors.Transient, match="in time"):
            await port.get(NODES, "n", timeout=0.05)
        with pytest.raises(errors.Transient, match="in time"):
            await port.get(NODES, "drip", timeout=0.05)
    closed = KubePort(Credentials("http://127.0.0.1:1"))
    with pytest.raises(errors.Transient):
        await closed.get(NODES, "n")
    await closed.close()
    with pytest.raises(errors.Transient):
        await closed.get(NODES, "n")
    assert codes == [0, 200]


async def test_requests_at_the_same_time_are_limited():
    running = most = 0

    async def count(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return answer({})

    async with serving(count, connections=3) as (_, port):
        await asyncio.gather(*(port.get(NODES, f"n{i}") for i in range(12)))
    assert most == 3


async def test_watches_do_not_wait_behind_calls():
    async def reply(request):
        if "watch" in request.query:
            return await chunked(request, [line("ADDED")])
        await asyncio.sleep(5)
        return answer({})

    async with serving(reply, connections=1) as (_, port):
        stuck = asyncio.create_task(port.get(NODES, "n", timeout=0.2))
        await asyncio.sleep(0.02)
        assert len(await asyncio.wait_for(collect(port), 0.15)) == 1
        with pytest.raises(errors.Transient):
            await stuck


class Rotating:
    """A source whose first token is refused."""

    def __init__(self):
        self.asked = []

    async def __call__(self, *, fresh):
        self.asked.append(fresh)
        return "new" if fresh else "old"


async def test_a_refused_token_is_renewed_once():
    def reply(request):
        return answer({}, 200 if request.headers["Authorization"] == "Bearer new" else 401)

    source = Rotating()
    async with serving(reply, credentials={"token_source": source}) as (_, port):
        assert await port.get(NODES, "n") == {}
        assert source.asked == [False, True]
    source = Rotating()
    async with serving(lambda _: answer({}, 401), credentials={"token_source": source}) as (server, port):
        with pytest.raises(errors.Unauthorized):
            await port.create(NODES, {"metadata": {"name": "n"}})
        assert len(server.requests) == 2


async def test_the_environment_names_no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(lambda _: answer({})) as (_, port):
        assert await port.get(NODES, "n") == {}


async def test_cookies_are_not_kept():
    async with serving(lambda _: answer({}, **{"Set-Cookie": "a=b"})) as (server, port):
        # By name: of addresses no client keeps cookies.
        named = KubePort(Credentials(port._transport._base.replace("127.0.0.1", "localhost")))
        await named.get(NODES, "n")
        await named.get(NODES, "n")
        await named.close()
        assert "Cookie" not in server.requests[1][3]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2fb", "a?b", "a b", "ä", "x" * 254, "a\nb", "a#b"])
async def test_names_that_would_change_the_path(name):
    port = KubePort(Credentials("http://127.0.0.1:1"))
    with pytest.raises(errors.Invalid):
        await port.get(NODES, name)
    with pytest.raises(errors.Invalid):
        await port.delete(PODS, "p", namespace=name)


async def test_a_namespace_is_needed():
    port = KubePort(Credentials("http://127.0.0.1:1"))
    for call in (
        port.get(PODS, "p"),
        port.create(PODS, {"metadata": {"name": "p"}}),
        port.update(PODS, {"metadata": {"name": "p"}}),
        port.update(PODS, {"metadata": {"namespace": "p"}}),
        port.create(PODS, {"metadata": {"name": {1}}}, namespace="n"),
    ):
        with pytest.raises(errors.Invalid):
            await call


# -- TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA, a server certificate for localhost and `api.west`, and a client certificate."""
    folder = tmp_path_factory.mktemp("pki")
    ca = issue("ca")
    pairs = {
        "ca": ca,
        "server": issue("server", "127.0.0.1", "api.west", by=ca),
        "other": issue("other", "other", by=ca),
        "client": issue("client", by=ca),
    }
    for name, pair in pairs.items():
        (folder / f"{name}.crt").write_bytes(pair.crt)
        (folder / f"{name}.key").write_bytes(pair.key)
    (folder / "locked.key").write_bytes(pairs["client"].locked(b"x"))
    return folder


def server_tls(pki, name="server", *, client=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
    if client:
        context.load_verify_locations(pki / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_tls_is_verified_against_the_given_ca(pki):
    ca = (pki / "ca.crt").read_bytes()
    cases = [
        ("server", {"ca_data": ca}, True),
        ("server", {}, False),
        ("server", {"ca_data": (pki / "other.crt").read_bytes()}, False),
        ("server", {"ca_data": ca, "tls_server_name": "api.west"}, True),
        ("server", {"ca_data": ca, "tls_server_name": "api.east"}, False),
        ("other", {"ca_data": ca}, False),
        ("other", {"insecure": True}, True),
    ]
    for name, credentials, good in cases:
        async with serving(lambda _: answer({}), tls=server_tls(pki, name), credentials=credentials) as (
            _,
            port,
        ):
            if good:
                assert await port.get(NODES, "n") == {}
            else:
                with pytest.raises(errors.Transient):
                    await port.get(NODES, "n")


async def test_a_client_certificate_is_shown_and_leaves_no_file_behind(pki, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ca, certificate, key = ((pki / f).read_bytes() for f in ("ca.crt", "client.crt", "client.key"))
    before = open_files()
    for with_memfd in (True, False):
        if not with_memfd:
            monkeypatch.delattr(os, "memfd_create", raising=False)
        credentials = {"ca_data": ca, "client_cert_data": certificate, "client_key_data": key}
        async with serving(
            lambda _: answer({}), tls=server_tls(pki, client=True), credentials=credentials
        ) as (_, port):
            assert await port.get(NODES, "n") == {}
        assert not list(tmp_path.iterdir())
    gc.collect()
    assert open_files() <= before + 2


def test_keys_that_cannot_be_used(pki):
    ca, certificate = ((pki / f).read_bytes() for f in ("ca.crt", "client.crt"))
    for key in ("locked.key", "other.key"):
        credentials = Credentials(
            "https://x", ca_data=ca, client_cert_data=certificate, client_key_data=(pki / key).read_bytes()
        )
        with pytest.raises(errors.Invalid):
            ssl_context(credentials)
    with pytest.raises(errors.Invalid):
        ssl_context(Credentials("https://x", ca_data=b"\xff"))


def test_tls_has_a_floor(pki):
    context = ssl_context(Credentials("https://x", ca_data=(pki / "ca.crt").read_bytes()))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_credentials_keep_their_secrets_and_their_rules():
    shown = repr(Credentials("https://x", b"CA", token="T0K3N"))
    assert "T0K3N" not in shown
    with pytest.raises(errors.Invalid):
        Credentials("https://x", client_cert_data=b"x")
    with pytest.raises(errors.Invalid):
        Credentials("https://x", token="a", token_source=Rotating())
