"""ID tokens signed by keys of our own, and the certificates that a sign-in provider would publish for them."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

PROJECT = "driftlock-test"
ISSUER = f"https://securetoken.google.com/{PROJECT}"


@dataclass(frozen=True)
class SigningKey:
    """A key of the sign-in provider."""

    kid: str
    private: rsa.RSAPrivateKey
    certificate: str

    def token(self, claims: object, **header: object) -> str:
        """A token of these claims with a good signature; `header` replaces its members, None takes one out."""
        named = {"alg": "RS256", "kid": self.kid, "typ": "JWT"} | header
        payload = parts({name: value for name, value in named.items() if value is not None}, claims)
        return f"{payload}.{base64url(self.private.sign(payload.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def confused(self, claims: object) -> str:
        """A token signed with HMAC, whose secret is what everybody knows: the public key."""
        public = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        payload = parts({"alg": "HS256", "kid": self.kid, "typ": "JWT"}, claims)
        mac = hmac.HMAC(public, hashes.SHA256())
        mac.update(payload.encode())
        return f"{payload}.{base64url(mac.finalize())}"


@cache
def signing_key(kid: str) -> SigningKey:
    """The key that tests call `kid`, made once."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "securetoken.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(private, hashes.SHA256())
    )
    return SigningKey(kid, private, certificate.public_bytes(Encoding.PEM).decode())


def claims(now_s: int, **changes: object) -> dict[str, object]:
    """Claims of a good token; `changes` replaces some, None takes one out."""
    good: dict[str, object] = {
        "iss": ISSUER,
        "aud": PROJECT,
        "auth_time": now_s - 60,
        "user_id": "ada",
        "sub": "ada",
        "iat": now_s - 30,
        "exp": now_s + 3570,
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada",
        "firebase": {"identities": {"email": ["ada@example.com"]}, "sign_in_provider": "password"},
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def unsigned(claims: object) -> str:
    """A token as the emulator makes them."""
    return parts({"alg": "none", "typ": "JWT"}, claims) + "."


def parts(header: object, claims: object) -> str:
    """Header and claims as they are signed."""
    return ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
