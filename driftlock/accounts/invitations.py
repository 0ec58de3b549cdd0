"""Invitation tokens: `dl_invite_<secret>_<checksum>`, shown once, and stored as a SHA-256 digest of the whole text."""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass, field
from datetime import timedelta

SECRET_BYTES = 20  # 160 bits, 32 characters
VALID = timedelta(days=7)
SHAPE = re.compile(r"dl_invite_[a-z2-7]{32}_[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MintedInvitation:
    """A new invitation. `text` is shown once and never stored."""

    text: str = field(repr=False)
    digest: bytes = field(repr=False)


def mint_invitation(randomness: bytes) -> MintedInvitation:
    """A token from `SECRET_BYTES` unpredictable bytes. Raises ValueError for any other number of them.

    >>> mint_invitation(bytes(20)).text
    'dl_invite_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_ff842627'
    """
    if len(randomness) != SECRET_BYTES:
        raise ValueError(f"an invitation is made of {SECRET_BYTES} random bytes, not {len(randomness)}")
    payload = f"dl_invite_{base64.b32encode(randomness).decode('ascii').lower()}"
    text = f"{payload}_{_checksum(payload)}"
    return MintedInvitation(text, _digest(text))


def invitation_digest(text: str) -> bytes | None:
    """What a token is found by; None for what is no invitation token."""
    if SHAPE.fullmatch(text) is None or _checksum(text.rpartition("_")[0]) != text.rpartition("_")[2]:
        return None
    return _digest(text)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("ascii")).digest()


def _checksum(payload: str) -> str:
    return f"{zlib.crc32(payload.encode('ascii')):08x}"
