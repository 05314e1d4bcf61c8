"""An agent's own certificate: made once, self-signed, known to its peers by its fingerprint."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rbee_agent.runtime.files import secret_file

if TYPE_CHECKING:
    from cryptography import x509

_BEGAN = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
_ENDS = datetime.datetime(2125, 1, 1, tzinfo=datetime.UTC)
"""A pin does not age; a date that ran out would only stop a fleet."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, in one 0600 file."""

    path: Path
    fingerprint: str
    """SHA-256 of the certificate, in hex: what peers pin."""

    def for_server(self) -> ssl.SSLContext:
        """What a server shows it with."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path)
        return context


def own_certificate(path: Path, names: Iterable[str]) -> Certificate:
    """The certificate in a file; made (P-256, for `names`) when it is first asked for.

    Raises:
        PermissionError: others may read its key, so it is no secret any more.
    """
    if not path.exists():
        secret_file(path, _make(list(dict.fromkeys(names))))
    text = secret_file(path, "")
    begin = text.index("-----BEGIN CERTIFICATE-----")
    shown = ssl.PEM_cert_to_DER_cert(text[begin:])
    return Certificate(path, hashlib.sha256(shown).hexdigest())


def _make(names: list[str]) -> str:
    """A fresh key and its certificate, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rbee")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGAN)
        .not_valid_after(_ENDS)
        .add_extension(x509.SubjectAlternativeName([_named(each) for each in names]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (private + made.public_bytes(serialization.Encoding.PEM)).decode().strip()


def _named(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
