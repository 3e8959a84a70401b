"""When credentials end."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from computegrid.clusters.credentials import Credentials
from computegrid.clusters.expiry import end_of_certificates, expiry_of
from tests.clusters.pki import issue

SERVER = "https://west.example"
SOON, LATER, BEYOND = (datetime(year, 3, 1, 12, tzinfo=UTC) for year in (2031, 2041, 9999))


def jwt(claims: bytes) -> str:
    return "e30." + base64.urlsafe_b64encode(claims).decode().rstrip("=") + ".c2ln"


@pytest.mark.parametrize(
    ("token", "end"),
    [
        (jwt(json.dumps({"exp": 1_800_000_000}).encode()), 1_800_000_000),
        (jwt(b'{"exp": 1e300}'), None),
        (jwt(b'{"exp": 1' + b"0" * 400 + b"}"), None),
        (jwt(b'{"exp": NaN}'), None),
        (jwt(b'{"exp": -1}'), None),
        (jwt(b'{"exp": "soon"}'), None),
        (jwt(b"{}"), None),
        (jwt(b"[]"), None),
        (jwt(b"[" * 30_000), None),
        ("a.%%%.c", None),
        ("opaque", None),
        (None, None),
    ],
    ids=[
        *("good", "far", "huge", "no number", "before 1970", "words", "none"),
        *("list", "nested too deep", "not base64", "opaque", "no token"),
    ],
)
def test_when_a_token_ends(token, end):
    assert expiry_of(Credentials(SERVER, token=token)) == end


def test_a_client_certificate_ends_with_the_first_of_its_chain():
    authority = issue("ca", ends=SOON)
    leaf = issue("grid", by=authority, ends=LATER)
    credentials = Credentials(SERVER, client_cert_data=leaf.crt, client_key_data=leaf.key)
    assert expiry_of(credentials) == LATER.timestamp()
    chain = Credentials(SERVER, client_cert_data=leaf.crt + authority.crt, client_key_data=leaf.key)
    assert expiry_of(chain) == SOON.timestamp()
    assert end_of_certificates(issue("for ever", ends=BEYOND).crt) == BEYOND.timestamp()


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate(pem):
    with pytest.raises(ValueError, match=r".+"):
        end_of_certificates(pem)
