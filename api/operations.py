"""Names of operations: which row of the journal a `POST /v1/detect` became, so that its result can be asked for at any time.

Nothing is stored, so nothing can be lost: such a name is given even while the database is away, and it holds in every process
and after every restart. It opens nothing either: what it names is read as everything else of an account is, and the check
digits, in which the account stands, only tell a mistyped name from a good one.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from uuid import UUID

PREFIX = "op_"
CHARS_MAX = 128
_FACTS = struct.Struct(">16sQQIIII?")
_CHECK_BYTES = 6


@dataclass(frozen=True, slots=True)
class Operation:
    """What is told of the request: its stream, the position of its row, when it came, and what was made of its events.

    `duplicate`: it was journaled before, so nothing was journaled now.
    """

    stream_id: UUID
    journal_seq: int
    received_ns: int
    records: int
    truncated: int
    attributes_dropped: int
    replaced: int
    duplicate: bool


def operation_id(tenant_id: UUID, operation: Operation) -> str:
    """The name of an operation of an account."""
    facts = _FACTS.pack(
        operation.stream_id.bytes,
        operation.journal_seq,
        operation.received_ns,
        operation.records,
        operation.truncated,
        operation.attributes_dropped,
        operation.replaced,
        operation.duplicate,
    )
    return PREFIX + base64.urlsafe_b64encode(_check(tenant_id, facts) + facts).rstrip(b"=").decode()


def parse_operation(tenant_id: UUID, text: str) -> Operation | None:
    """The operation of a name that `operation_id` gave in the same account; None for anything else."""
    if not text.startswith(PREFIX) or len(text) > CHARS_MAX or not text.isascii():
        return None
    coded = text[len(PREFIX) :]
    try:
        raw = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    check, facts = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    if len(facts) != _FACTS.size or check != _check(tenant_id, facts):
        return None
    stream, seq, received_ns, records, truncated, dropped, replaced, duplicate = _FACTS.unpack(facts)
    found = Operation(UUID(bytes=stream), seq, received_ns, records, truncated, dropped, replaced, duplicate)
    return found if operation_id(tenant_id, found) == text else None  # unused bits of the last character


def _check(tenant_id: UUID, facts: bytes) -> bytes:
    return hashlib.blake2b(tenant_id.bytes + facts, digest_size=_CHECK_BYTES).digest()
