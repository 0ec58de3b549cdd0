"""Certificates made at test time, and in files as operators have them."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.tls import TlsFiles


def chain(certificate: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in certificate.cert_chain_pems)


def serial(certificate: trustme.LeafCert) -> int:
    return x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).serial_number


def with_uris(authority: trustme.CA, common_name: str, dns: Sequence[str], uris: Sequence[str]) -> trustme.LeafCert:
    """A certificate with URIs among its names, such as SPIFFE ids."""
    return _issued(authority, ec.generate_private_key(ec.SECP256R1()), common_name, dns, uris)


def with_key(authority: trustme.CA, key: Any) -> trustme.LeafCert:
    """A server's certificate for a key of any kind."""
    return _issued(authority, key, "localhost", ["localhost"], [])


def _issued(authority: trustme.CA, key: Any, common_name: str, dns: Sequence[str], uris: Sequence[str]) -> trustme.LeafCert:
    signer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    secret = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    names += [x509.UniformResourceIdentifier(uri) for uri in uris]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(secret.public_key()), critical=False)
        .sign(secret, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return trustme.LeafCert(key.private_bytes(*form), made.public_bytes(serialization.Encoding.PEM), [])


@dataclass
class Folder:
    """A folder with the files of `TlsFiles`; `authority` signs the server's certificates and the clients'."""

    path: Path
    authority: trustme.CA = field(default_factory=trustme.CA)
    mutual: bool = False

    def __post_init__(self) -> None:
        self.write(self.authority.issue_cert("localhost", "127.0.0.1"))
        (self.path / "ca.pem").write_bytes(self.authority.cert_pem.bytes())

    @property
    def files(self) -> TlsFiles:
        client_ca, clients = (self.path / "ca.pem", self.path / "clients.toml") if self.mutual else (None, None)
        return TlsFiles(self.path / "cert.pem", self.path / "key.pem", client_ca, clients)

    def write(self, certificate: trustme.LeafCert) -> None:
        self.current = certificate
        (self.path / "cert.pem").write_bytes(chain(certificate))
        (self.path / "key.pem").write_bytes(certificate.private_key_pem.bytes())

    def clients(self, text: str) -> None:
        (self.path / "clients.toml").write_text(text)
