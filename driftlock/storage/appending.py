"""What is appended to the journal: requests as rows, and a group of them as the columns of one database call."""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import zstandard

from driftlock.engine import records
from driftlock.engine.ports import Receipt, StreamBatch, Submission

NS_MAX = 2**63 - 1  # the database's bigint; a time beyond the year 2262 is clamped
RECEIVED_NS_MAX = NS_MAX - 2 * 24 * 3600 * 1_000_000_000  # a receive time has room for the longest window after it


@dataclass(slots=True)
class Pending:
    """A request on its way into a group: its rows as columns, and who waits for it. `size` is that of its bodies."""

    submission: Submission
    parts: list[StreamBatch]
    streams: list[UUID]
    counts: list[int]
    raw_bytes: list[int]
    bodies: list[bytes]
    overflowed: int
    size: int
    done: "asyncio.Future[Receipt]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def encode(parts: Sequence[StreamBatch], compressor: zstandard.ZstdCompressor) -> list[bytes]:
    """The body of each part."""
    return [records.encode(part.batch, compressor) for part in parts]


def columns(group: Sequence[Pending]) -> tuple[list[object], ...]:
    """Requests and rows of a group as `driftlock.journal_append` takes them, from `p_r_tenant` on."""
    submissions = [pending.submission for pending in group]
    bodies = [body for pending in group for body in pending.bodies]
    return (
        [submission.tenant_id for submission in submissions],
        [submission.signal.value for submission in submissions],
        [submission.request_hash for submission in submissions],
        [submission.content_hash for submission in submissions],
        [submission.dedup_window_ns for submission in submissions],
        [min(submission.received_ns, RECEIVED_NS_MAX) for submission in submissions],
        [submission.received_records for submission in submissions],
        [submission.rejected for submission in submissions],
        [number for number, pending in enumerate(group, 1) for _ in pending.bodies],
        [stream for pending in group for stream in pending.streams],
        [count for pending in group for count in pending.counts],
        [count for pending in group for count in pending.raw_bytes],
        [zlib.crc32(body) for body in bodies],
        list(bodies),
    )
