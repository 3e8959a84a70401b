"""When credentials end: a token says so in its claims, a certificate in its validity."""

from __future__ import annotations

import base64
import json

from cryptography import x509

from computegrid.clusters.credentials import Credentials

_YEAR_10000 = 253_402_300_800.0
"""In seconds since 1970; an end that is no sooner is none that a time can tell."""


def expiry_of(credentials: Credentials) -> float | None:
    """Return when credentials end, in seconds since 1970; None for a token that does not say.

    Raises:
        ValueError: there is no certificate where one should be.
    """
    if credentials.client_cert_data is not None:
        return end_of_certificates(credentials.client_cert_data)
    return None if credentials.token is None else _end_of_token(credentials.token)


def end_of_certificates(pem: bytes) -> float:
    """Return when the first of these certificates ends: a server takes a chain only while all of it holds.

    Raises:
        ValueError: there is none, or one that cannot be read.
    """
    return min(each.not_valid_after_utc.timestamp() for each in x509.load_pem_x509_certificates(pem))


def _end_of_token(token: str) -> float | None:
    """A service account's token is a JWT, whose claims anyone may read; the server knows if they are true."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = float(claims["exp"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return end if 0 <= end < _YEAR_10000 else None
