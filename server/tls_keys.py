"""Which keys the certificate of the OTLP ports may have.

OTLP/HTTP is served by OpenSSL and OTLP/gRPC by BoringSSL. A key that only one of them can use would leave one port with the old
certificate, or with none; one that the clients of one of them do not take would close that port to them.
"""

import binascii
import re
from collections.abc import Iterator

RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
GOOD_KEYS = f"RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, ECDSA P-256 or ECDSA P-384"

_CERTIFICATE = re.compile(rb"^-----BEGIN (X509 |TRUSTED |)CERTIFICATE-----\s(.*?)^-----END ", re.MULTILINE | re.DOTALL)
_VERSION_TAG = 0xA0
_RSA, _EC = "2a864886f70d010101", "2a8648ce3d0201"
_OTHERS = {"2a864886f70d01010a": "RSA-PSS", "2b6570": "Ed25519", "2b6571": "Ed448"}
_GOOD_CURVES = {"2a8648ce3d030107": "P-256", "2b81040022": "P-384"}
_OTHER_CURVES = {"2b81040023": "P-521", "2b8104000a": "secp256k1"}


def unusable_key(pem: bytes) -> str | None:
    """What the public key of the first certificate in a PEM file is, such as "Ed25519"; None if it is a good one.

    Raises ValueError if there is no certificate in the usual form, DER in PEM.
    """
    certificate = _first_certificate(pem)
    try:
        algorithm, *parameters, key = _public_key(certificate)
        bits = _modulus_bits(key) if algorithm == _RSA else 0
    except (StopIteration, IndexError, ValueError):
        raise ValueError("the first certificate is not DER") from None
    if algorithm == _RSA:
        return None if RSA_BITS_MIN <= bits <= RSA_BITS_MAX else f"RSA of {bits} bits"
    if algorithm == _EC:
        curve = parameters[0] if parameters else ""
        return None if curve in _GOOD_CURVES else f"ECDSA {_OTHER_CURVES.get(curve, 'on another curve')}"
    return _OTHERS.get(algorithm, "of another kind")


def _first_certificate(pem: bytes) -> bytes:
    found = _CERTIFICATE.search(pem)
    if found is None or found[1]:
        raise ValueError("begin it with the server's own certificate, between -----BEGIN and END CERTIFICATE-----")
    try:
        return binascii.a2b_base64(b"".join(found[2].split()), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"the first certificate is not base64: {error}") from None


def _public_key(certificate: bytes) -> tuple[str, ...]:
    """Algorithm, its parameters and the key, in hexadecimal digits: `SubjectPublicKeyInfo` of RFC 5280, section 4.1."""
    ((_, whole),) = _elements(certificate)
    _, signed = next(_elements(whole))
    _, _, _, _, _, info, *_ = (content for tag, content in _elements(signed) if tag != _VERSION_TAG)
    (_, algorithm), (_, key) = _elements(info)
    return (*(content.hex() for _, content in _elements(algorithm)), key.hex())


def _modulus_bits(key: str) -> int:
    """The size of an RSA key, `RSAPublicKey` of RFC 8017, A.1.1, in a bit string: its first byte counts unused bits."""
    ((_, numbers),) = _elements(bytes.fromhex(key)[1:])
    return int.from_bytes(next(_elements(numbers))[1]).bit_length()


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of elements in a row (X.690). Raises IndexError or ValueError for what is no DER."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(der[at : at + width]), at + width
            if not 1 <= width <= 4:
                raise ValueError("indefinite or absurd length")
        if at + size > len(der):
            raise ValueError("truncated")
        yield tag, der[at : at + size]
        at += size
