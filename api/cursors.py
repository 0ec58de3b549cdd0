"""Cursors: where a page ended, signed, so that nobody can point a list at a place that it did not hand out.

A cursor is bound to its list, its tenant and its filters: brought to another one it is an error, not a wrong page.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from uuid import UUID

from driftlock.errors import InvalidArgument

_MAC_BYTES = 16
CURSOR_CHARS_MAX = 1024
KEY_BYTES_MIN = 32

Position = tuple[int | str, ...]
"""What a list sorts by, of the last item of a page: integers and strings."""


class Cursors:
    """Signs and reads cursors with HMAC-SHA256, truncated to 128 bits (RFC 2104, section 5)."""

    def __init__(self, key: bytes) -> None:
        """`key`: at least 32 secret random bytes, the same in all processes that serve one API."""
        if len(key) < KEY_BYTES_MIN:
            raise ValueError(f"the cursor key has {len(key)} bytes; give at least {KEY_BYTES_MIN} random ones")
        self._key = key

    def encode(self, position: Position, *, tenant_id: UUID, scope: Sequence[str]) -> str:
        """The cursor of a position; `scope` names the list and its filters."""
        payload = json.dumps(position, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(payload, tenant_id, scope) + payload).rstrip(b"=").decode()

    def decode(self, cursor: str, *, tenant_id: UUID, scope: Sequence[str]) -> Position:
        """The position of a cursor that `encode` made for the same tenant and scope; raise `InvalidArgument` otherwise."""
        refusal = InvalidArgument("the cursor is not one of this list with these filters; start again without a cursor")
        if len(cursor) > CURSOR_CHARS_MAX or not cursor.isascii():
            raise refusal
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise refusal from None
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, tenant_id, scope)):
            raise refusal
        return tuple(json.loads(payload))

    def _mac(self, payload: bytes, tenant_id: UUID, scope: Sequence[str]) -> bytes:
        context = json.dumps([str(tenant_id), *scope], separators=(",", ":")).encode()
        message = len(context).to_bytes(4, "big") + context + payload
        return hmac.new(self._key, message, hashlib.sha256).digest()[:_MAC_BYTES]
