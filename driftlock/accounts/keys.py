"""API keys: how they look, and how one is checked without keeping it.

    dl_live_<id>_<secret>_<checksum>       also dl_test_ and dl_local_

The id (16 characters) finds the key's row, the secret (160 bits) proves it, the checksum lets a scanner or a server tell a
key from a typing error without asking anybody. Only a SHA-256 digest of the whole text is stored: the secret has too much
entropy for a slow hash to add anything.
"""

import base64
import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from driftlock.accounts.plans import FREE

ID_BYTES = 10  # 16 characters of base 32
SECRET_BYTES = 20  # 32 characters
RANDOMNESS_BYTES = ID_BYTES + SECRET_BYTES
KEY_CHARS_MAX = 128
SHAPE = re.compile(r"dl_(?:live|test|local)_([a-z2-7]{16})_[a-z2-7]{32}_([0-9a-f]{8})", re.ASCII)


class KeyKind(StrEnum):
    """What a key is for; visible in its prefix, without effect on its rights."""

    LIVE = "live"
    TEST = "test"
    LOCAL = "local"


class Scope(StrEnum):
    """What a key may do. Scopes do not include one another."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class Role(StrEnum):
    """A person's place in a tenant; each may do what the ones before it may.

    A viewer reads. A member also says what findings are worth, acknowledges, freezes and tunes. An owner also handles keys,
    people and the tenant itself.
    """

    VIEWER = "viewer"
    MEMBER = "member"
    OWNER = "owner"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what `other` may.

        >>> Role.MEMBER.includes(Role.VIEWER), Role.VIEWER.includes(Role.MEMBER)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. `text` is shown once and never stored."""

    text: str = field(repr=False)
    key_id: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of a key. `stream` binds it to the stream of that id (None = all streams of the tenant).

    `requests_per_minute` is its own limit (None = that of its tenant's `plan`).
    """

    key_id: str
    tenant_id: UUID
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    stream: str | None = None
    expires_at: datetime | None = None
    revoked: bool = False
    name: str = ""
    requests_per_minute: int | None = None
    plan: str = FREE


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a key, a person (`user_id`, `role`), or, with neither, the anonymous local user.

    `stream` binds a key to one stream. `name` is how people know the key or the person. `plan` is the tenant's
    (`driftlock.accounts.plans`), `requests_per_minute` the key's own limit.
    """

    tenant_id: UUID
    scopes: frozenset[Scope]
    key_id: str | None = None
    stream: str | None = None
    user_id: UUID | None = None
    role: Role | None = None
    name: str = ""
    plan: str = FREE
    requests_per_minute: int | None = None


def mint(kind: KeyKind, randomness: bytes) -> MintedKey:
    """A key from `RANDOMNESS_BYTES` unpredictable bytes. Raises ValueError for any other number of them.

    >>> mint(KeyKind.TEST, bytes(30)).text
    'dl_test_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_b4b5b229'
    """
    if len(randomness) != RANDOMNESS_BYTES:
        raise ValueError(f"a key is made of {RANDOMNESS_BYTES} random bytes, not {len(randomness)}")
    key_id, secret = _base32(randomness[:ID_BYTES]), _base32(randomness[ID_BYTES:])
    payload = f"dl_{kind}_{key_id}_{secret}"
    text = f"{payload}_{_checksum(payload)}"
    return MintedKey(text, key_id, digest(text))


def parse(text: str) -> str | None:
    """The id of a well-formed key, else None; at most `KEY_CHARS_MAX` characters are looked at."""
    if len(text) > KEY_CHARS_MAX:
        return None
    match = SHAPE.fullmatch(text)
    if match is None or _checksum(text.rpartition("_")[0]) != match[2]:
        return None
    return match[1]


def digest(text: str) -> bytes:
    """What is stored instead of a key: 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def matches(record: KeyRecord, text: str) -> bool:
    """Whether `text` is the key of `record`; takes the same time wherever they differ."""
    return hmac.compare_digest(record.digest, digest(text))


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()


def _checksum(payload: str) -> str:
    return f"{zlib.crc32(payload.encode('ascii')):08x}"
