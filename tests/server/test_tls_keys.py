"""Kinds of keys, read from certificates: against the library that made them."""

import datetime
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from server.tls_keys import GOOD_KEYS, unusable_key

SIGNER = ec.generate_private_key(ec.SECP256R1())


def certificate(key: Any, serial: int = 1, names: int = 1) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"name {number}") for number in range(names)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(serial).public_key(key.public_key())
    began, ends = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2020, 2040))
    made = builder.not_valid_before(began).not_valid_after(ends).sign(SIGNER, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), None),
        (lambda: ec.generate_private_key(ec.SECP384R1()), None),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "ECDSA P-521"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "ECDSA secp256k1"),
        (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "ECDSA on another curve"),
        (lambda: rsa.generate_private_key(65537, 2048), None),
        (lambda: rsa.generate_private_key(65537, 1024), "RSA of 1024 bits"),  # noqa: S505 - it is to be refused
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
        (ed448.Ed448PrivateKey.generate, "Ed448"),
    ],
    ids=["P-256", "P-384", "P-521", "secp256k1", "brainpool", "RSA 2048", "RSA 1024", "Ed25519", "Ed448"],
)
def test_kinds_of_keys(make: Any, kind: str | None) -> None:
    pem = certificate(make())
    assert unusable_key(pem) == kind
    assert unusable_key(b"text before\n" + pem.replace(b"\n", b"\r\n") + certificate(SIGNER)) == kind  # the chain is not asked


@given(serial=st.integers(1, 2**159 - 1), names=st.integers(1, 40))
def test_what_comes_before_the_key_may_be_of_any_length(serial: int, names: int) -> None:
    assert unusable_key(certificate(SIGNER, serial, names)) is None


def test_rsa_pss_keys() -> None:
    """The same key under the other name that RSA keys may have (RFC 4055)."""
    der = x509.load_pem_x509_certificate(certificate(rsa.generate_private_key(65537, 2048))).public_bytes(
        serialization.Encoding.DER
    )
    plain, pss = bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d01010a")
    assert der.count(plain) == 1
    assert unusable_key(pem(der.replace(plain, pss))) == "RSA-PSS"


def pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "begin it with the server's own certificate"),
        (b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n", "begin it with"),
        (b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "is not base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not DER"),
    ],
)
def test_what_is_no_certificate(text: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        unusable_key(text)


GOOD = x509.load_pem_x509_certificate(certificate(SIGNER)).public_bytes(serialization.Encoding.DER)


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3))
def test_damage_is_a_value_error_or_harmless(at: int, put: bytes) -> None:
    for der in (GOOD[:at], GOOD[:at] + put, GOOD[:at] + put + GOOD[at + len(put) :]):
        try:
            unusable_key(pem(der))
        except ValueError as error:
            assert "certificate" in str(error)  # noqa: PT017


def test_the_advice_names_what_is_good() -> None:
    assert GOOD_KEYS == "RSA of 2048 to 8192 bits, ECDSA P-256 or ECDSA P-384"
