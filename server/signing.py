"""The Ed25519 key (RFC 8032) that signs evidence, and the check of a signature. The private part never leaves its file.

Without a file of the operator's own the key is kept in the data folder beside the embedded database, made at the first start.
With an external database nothing on disk is ours: evidence is signed there only with a key that the operator gives.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from driftlock.engine.evidence_bundle import PUBLIC_KEY_BYTES, signed_text
from driftlock.storage.datafolder import write_private
from driftlock.storage.startup import StartupRefused
from server.settings import Settings

KEY_ID_CHARS = 16
KEY_FILE_BYTES_MAX = 64 * 1024
MAKE_ONE = "make one with: openssl genpkey -algorithm ed25519 -out FILE"


def key_id_of(public_key: bytes) -> str:
    """What a public key is called: the first hexadecimal digits of its SHA-256."""
    return sha256(public_key).hexdigest()[:KEY_ID_CHARS]


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, and what the world may know of it."""

    _private: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """Its 32 bytes."""
        return self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def key_id(self) -> str:
        """What it is called."""
        return key_id_of(self.public_key)

    def sign(self, content: bytes) -> bytes:
        """The signature of a bundle's content, 64 bytes: always the same one."""
        return self._private.sign(signed_text(content))


def is_signed(content: bytes, public_key: bytes, signature: bytes) -> bool:
    """Whether the signature is that of `public_key` under this content."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed_text(content))
    except (InvalidSignature, ValueError):
        return False
    return True


def open_signer(settings: Settings) -> Signer | None:
    """The key of the settings, or that of the data folder; None where there is none: nothing is signed then.

    Raises `StartupRefused` for a file that is no Ed25519 key.
    """
    if settings.evidence_key_file is not None:
        return Signer(_read_private(settings.evidence_key_file))
    if not settings.embedded:
        return None
    path = settings.data_dir / "evidence-key"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(path, pem.decode("ascii"))
    return Signer(_read_private(path))


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_read(path), None)
    except OSError as error:
        raise StartupRefused(f"the evidence key {path} can not be read: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise StartupRefused(f"{path} is no unencrypted PEM private key ({_first_line(error)}); {MAKE_ONE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupRefused(f"{path} is a private key, but not an Ed25519 one; {MAKE_ONE}")
    return key


def read_public(text: str) -> bytes:
    """A public key that somebody names: 64 hexadecimal digits, or a PEM file. Raises ValueError with what is wrong."""
    digits = 2 * PUBLIC_KEY_BYTES
    if len(text) == digits:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass  # a file may have a name of that length
    try:
        key = load_pem_public_key(_read(Path(text)))
    except OSError as error:
        raise ValueError(
            f"{text} is neither {digits} hexadecimal digits nor a file that can be read: {error.strerror}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{text} is no PEM public key: {_first_line(error)}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{text} is a public key, but not an Ed25519 one")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(KEY_FILE_BYTES_MAX)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
