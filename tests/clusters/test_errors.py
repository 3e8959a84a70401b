"""Errors say what to do next, and nothing a hostile server wants to have said."""

from __future__ import annotations

import pytest

from computegrid.clusters.errors import (
    Cause,
    Forbidden,
    KubeconfigError,
    Transient,
    bounded,
    clean,
    error_from_status,
    parse_retry_after,
)

NOW = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        (" 2.5 ", 2.5),
        ("0", None),
        ("-3", None),
        ("1e9", 30),
        ("nan", None),
        ("inf", None),
        ("", None),
        (None, None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Sun, 06 Nov 1994 08:40:00 GMT", None),
        ("Sun, 06 Nov 2094 08:49:37 GMT", 30),
        ("Sun, 99 Nov 1994 08:49:47 GMT", None),
        ("9" * 1000, 30),
    ],
)
def test_retry_after(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


def test_a_date_without_the_servers_own_means_nothing():
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", None) is None
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", "Sun, 06 Nov 1994 08:49:37 -0000") is None


@pytest.mark.parametrize("value", [True, "3", None, [], float("nan"), -1, 0])
def test_only_positive_numbers_are_seconds(value):
    assert bounded(value) is None


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("a\nb\r\tc", "a b c"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\u202eright to left\u2066", "right to left"),
        ("null\x00byte", "null byte"),
        ("surrogate\ud800", "surrogate"),
        (5, ""),
        (None, ""),
        ({"a": 1}, ""),
    ],
)
def test_texts_are_one_printable_line(text, result):
    assert clean(text) == result


def test_texts_are_short():
    assert len(clean("x" * 10_000_000, 100)) == 100
    assert clean("x" * 101, 100).endswith("…")
    assert clean("x" * 100, 100) == "x" * 100


@pytest.mark.parametrize(
    "status",
    [
        None,
        [],
        "x",
        {"message": [], "reason": {}, "details": []},
        {"details": {"causes": "x", "retryAfterSeconds": "x"}},
        {"details": {"causes": [1, None, {"field": 1}, {}] * 100}},
    ],
)
@pytest.mark.parametrize("code", [200, 400, 403, 409, 500, -1, 10**9])
def test_any_status_makes_an_error(code, status):
    error = error_from_status(code, status)
    assert error.message
    assert len(error.causes) <= 16


@pytest.mark.parametrize(
    ("message", "cause", "why"),
    [
        ('pods is forbidden: User "x" cannot create resource "pods" in API group ""', "", "Rights"),
        ('pods "a" is forbidden: exceeded quota: q, requested: pods=1', "", "Quota"),
        (
            "unable to create new content in namespace x because it is being terminated",
            "NamespaceTerminating",
            "NamespaceTerminating",
        ),
        ('pods "a" is forbidden: violates PodSecurity "restricted:latest"', "", "PodSecurity"),
        ("ValidatingAdmissionPolicy 'p' denied request", "", "Policy"),
    ],
)
def test_what_forbade_a_request(message, cause, why):
    error = Forbidden(message, causes=[Cause("", cause, "")])
    assert error.why == why
    assert error.message == message


def test_fields_of_a_kubeconfig_error():
    error = KubeconfigError("users[0].user.\x1b[31mexec", "token")
    assert error.field == "users[0].user. [31mexec"
    assert str(error) == "users[0].user. [31mexec: is not allowed; allowed: token"
    assert isinstance(Transient("x", retry_after=3).retry_after, int)


def test_an_api_server_that_still_starts_forbids_nothing():
    told = {"message": 'pods "a" is forbidden: not yet ready to handle request', "reason": "Forbidden"}
    error = error_from_status(403, told)
    assert isinstance(error, Transient)
    assert error.code == 403
    assert isinstance(
        error_from_status(403, {"message": "pods is forbidden: User x cannot create"}), Forbidden
    )
