"""Certificates for tests: an authority, and what it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @property
    def crt(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        return self.locked(None)

    def locked(self, password: bytes | None) -> bytes:
        """Return the key, encrypted where there is a password."""
        encryption = (
            serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        )
        form = serialization.PrivateFormat.PKCS8
        return self.private.private_bytes(serialization.Encoding.PEM, form, encryption)


def issue(name: str, *hosts: str, by: Pair | None = None, ends: dt.datetime | None = None) -> Pair:
    """Return a certificate, signed by an authority or else by itself; `hosts` are names and addresses."""
    now = dt.datetime.now(dt.UTC)
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(subject_name=subject, public_key=private.public_key())
        .issuer_name(by.certificate.subject if by else subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, ends or now) - DAY)
        .not_valid_after(ends or now + DAY)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False
        )
    return Pair(builder.sign(by.private if by else private, hashes.SHA256()), private)


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
