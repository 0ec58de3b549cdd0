"""Batches, submissions and findings for storage tests."""

import dataclasses
import hashlib
from array import array
from uuid import UUID

from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.verdict import Calibration, Finding, NovelLine
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard

NOW_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
CHECKOUT = StreamKey(Signal.LOGS, "checkout", "shop", "prod")


def batch(*lines: str) -> RecordBatch:
    raw = [line.encode() for line in lines]
    return RecordBatch(b"".join(raw), array("I", map(len, raw)), array("Q", range(1, len(raw) + 1)))


def submission(
    tenant_id: UUID,
    *lines: str,
    key: StreamKey = CHECKOUT,
    received_ns: int = NOW_NS,
    hashed: bool = True,
) -> Submission:
    """One stream's lines; equal lines have equal request hashes."""
    request_hash = hashlib.blake2b("\n".join(lines).encode(), digest_size=16).digest() if hashed else None
    return Submission(tenant_id, key.signal, received_ns, (StreamBatch(key, batch(*lines)),), request_hash)


async def open_journal(database: Database, limits: JournalLimits | None = None) -> Journal:
    """A journal over a shard acquired for it; the caller enters it."""
    shard = Shard(database)
    await shard.acquire()
    return Journal(database, shard, node="node-1", on_commit=lambda _: None, limits=limits)


def finding(window: int, **changes: object) -> Finding:
    made = Finding(
        stream=CHECKOUT.text,
        window=window,
        first_event=window * 10,
        last_event=window * 10 + 49,
        start_ns=NOW_NS + window,
        end_ns=NOW_NS + window + SECOND_NS,
        ncd=0.5,
        ncd_threshold=0.3,
        ncd_classical=0.9,
        p_value=0.01,
        p_value_threshold=0.05,
        confidence=0.99,
        p_permutation=0.002,
        permutations=999,
        ratio=0.4,
        ratio_normal=0.1,
        compression_ratio=3.0,
        compression_ratio_normal=9.0,
        compression_ratio_p_value=0.01,
        entropy=4.5,
        entropy_normal=4.1,
        entropy_p_value=0.2,
        profile="balanced",
        calibration=Calibration.OK,
        codec="zstd",
        codec_level=3,
        codec_version="1.5.4",
        seed=0,
        late_events=0,
        receive_timed=False,
        explanation="disk full appeared",
        lines=(NovelLine(event=window * 10, time_ns=NOW_NS, text="disk full", spans=((0, 9),), cost_bytes=9),),
        window_lines=("disk full",),
        baseline_lines=("disk ok",),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]  # a test names real fields
