"""A journal in segment files, to measure the PostgreSQL one against (docs/adr/0015): append, fdatasync, acknowledge.

The same bodies, the same group commit, the same seams (`Intake`, `JournalReader`). One frame a request:

    length u32, crc32 u32, rows u16, tenant 16, hash 16, received_ns u64
    for each row: stream u32, records u32, size u32, body

It is a prototype, and does less than a journal has to: keys of streams, positions, deduplication and the meter are in memory
only, nothing is truncated, a failed write ends it. So its figures are what a segment file could at best be.
"""

import asyncio
import os
import struct
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from driftlock.engine import records
from driftlock.engine.event import StreamKey
from driftlock.engine.ports import JournalRow, Receipt, RowKind, Submission

SEGMENT_BYTES = 256 * 1024 * 1024
ENCODE_INLINE_BYTES_MAX = 32 * 1024
GROUP_BYTES_MAX = 16 * 1024 * 1024
HEAD = struct.Struct("<II")
REQUEST = struct.Struct("<H16s16sQ")
ROW = struct.Struct("<III")


@dataclass(slots=True)
class _Waiting:
    submission: Submission
    bodies: list[bytes]
    done: "asyncio.Future[Receipt]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class SegmentJournal:
    """Implements `Intake` and `JournalReader`. Enter it to begin."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened yet."""
        self._folder = folder
        self._file = -1
        self._written = 0
        self._seq = 0
        self._streams: dict[tuple[UUID, StreamKey], int] = {}
        self._known: dict[bytes, int] = {}
        self._meter: dict[UUID, int] = {}
        self._frames: list[tuple[int, Path, int, int]] = []  # first position, file, offset, bytes
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open()
        self._runner = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        os.close(self._file)

    async def submit(self, submission: Submission) -> Receipt:
        """Return when the records are on disk."""
        known = self._known.get(submission.request_hash) if submission.request_hash else None
        if known is not None:
            return Receipt(known, 0, duplicate=True)
        batches = [part.batch for part in submission.batches]
        if sum(len(batch.text) for batch in batches) > ENCODE_INLINE_BYTES_MAX:
            bodies = await asyncio.to_thread(lambda: [records.encode(batch) for batch in batches])
        else:
            bodies = [records.encode(batch) for batch in batches]
        waiting = _Waiting(submission, bodies)
        self._queue.append(waiting)
        self._wake.set()
        return await asyncio.shield(waiting.done)

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        """Rows after a position, at least one frame's."""
        keys = {number: key for key, number in self._streams.items()}
        rows: list[JournalRow] = []
        size = 0
        begin = max(0, bisect_right(self._frames, after_seq + 1, key=lambda frame: frame[0]) - 1)
        for first, path, offset, length in islice(self._frames, begin, None):
            if rows and size + length > bytes_max:
                break
            with path.open("rb") as file:
                file.seek(offset)
                found = [row for row in _rows(first, file.read(length), keys) if row.seq > after_seq]
            if found:
                rows += found
                size += length
        return rows

    def _open(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._path = self._folder / f"{self._seq:020}.segment"
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)  # the name of the file, too
        os.close(folder)
        self._written = 0

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                group, frames = self._take()
                await loop.run_in_executor(None, self._write, b"".join(frames))
                self._answer(group, frames)
                if self._written > SEGMENT_BYTES:
                    self._open()

    def _take(self) -> tuple[list[_Waiting], list[bytes]]:
        group, frames, size = [], [], 0
        while self._queue and size < GROUP_BYTES_MAX:
            waiting = self._queue.popleft()
            group.append(waiting)
            frames.append(self._frame(waiting))
            size += len(frames[-1])
        return group, frames

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)

    def _frame(self, waiting: _Waiting) -> bytes:
        submission = waiting.submission
        parts = [
            REQUEST.pack(
                len(waiting.bodies), submission.tenant_id.bytes, submission.request_hash or bytes(16), submission.received_ns
            )
        ]
        for part, body in zip(submission.batches, waiting.bodies, strict=True):
            number = self._streams.setdefault((submission.tenant_id, part.key), len(self._streams) + 1)
            parts += [ROW.pack(number, part.records, len(body)), body]
        payload = b"".join(parts)
        return HEAD.pack(len(payload), zlib.crc32(payload)) + payload

    def _answer(self, group: Sequence[_Waiting], frames: Sequence[bytes]) -> None:
        for waiting, frame in zip(group, frames, strict=True):
            submission = waiting.submission
            self._frames.append((self._seq + 1, self._path, self._written, len(frame)))
            self._written += len(frame)
            self._seq += len(waiting.bodies)
            if submission.request_hash is not None:
                self._known[submission.request_hash] = self._seq
            self._meter[submission.tenant_id] = self._meter.get(submission.tenant_id, 0) + submission.records
            waiting.done.set_result(Receipt(self._seq, submission.records))


def _rows(first: int, frame: bytes, keys: dict[int, tuple[UUID, StreamKey]]) -> list[JournalRow]:
    """The rows of a frame; none of one that is torn or damaged."""
    length, crc = HEAD.unpack_from(frame)
    payload = frame[HEAD.size :]
    if len(payload) != length or zlib.crc32(payload) != crc:
        return []
    count, tenant, _, received_ns = REQUEST.unpack_from(payload)
    at, rows = REQUEST.size, []
    for number in range(count):
        stream, _, size = ROW.unpack_from(payload, at)
        at += ROW.size
        _, key = keys[stream]
        stream_id = UUID(int=stream)
        body = payload[at : at + size]
        rows.append(JournalRow(first + number, RowKind.RECORDS, received_ns, body, UUID(bytes=tenant), stream_id, key))
        at += size
    return rows
