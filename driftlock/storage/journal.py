"""The journal's entrance: requests become durable in groups, one database call and one fsync for each group.

    submit ──> queue ──> group (while the last one commits) ──> driftlock.journal_append ──> receipts

Whoever waits longest commits with the next group, so latency stays near one fsync however many callers there are.
A group is all or nothing; when the data of one request makes it fail, halves of it are tried until that one is alone.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self
from uuid import UUID

from driftlock.engine import records
from driftlock.engine.event import StreamKey
from driftlock.engine.ports import Receipt, Submission
from driftlock.engine.profile import Profile
from driftlock.errors import Conflict, DriftlockError, Internal, KeyReused, NotFound, Unavailable
from driftlock.storage.appending import Pending, columns, encode
from driftlock.storage.backlog import ROW_BYTES, Backlog
from driftlock.storage.clock_rows import APPEND_CLOCK as APPEND_CLOCK
from driftlock.storage.clock_rows import APPEND_TIME as APPEND_TIME
from driftlock.storage.clock_rows import clock_row, time_row
from driftlock.storage.configuring import CONFIGURE as CONFIGURE
from driftlock.storage.configuring import Configuration
from driftlock.storage.control_journal import SET_BUDGET as SET_BUDGET
from driftlock.storage.control_journal import ControlJournal, Owner, Work
from driftlock.storage.faults import FENCED, RETRY_AFTER_MS, is_poison
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.pool import Connection, Database, Lane
from driftlock.storage.recent import RecentBatches
from driftlock.storage.room import Room
from driftlock.storage.shard import Shard
from driftlock.storage.stream_ids import StreamIds

__all__ = ["Journal", "JournalLimits"]
log = logging.getLogger(__name__)
TAKEN_OVER_RETRY_AFTER_MS = 100  # who has taken over answers already

APPEND = """
select outcome, seq from driftlock.journal_append(
  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) order by request
"""
DUPLICATE, KEY_REUSED = 1, 2  # its outcomes besides 0, journaled


class Journal(ControlJournal):
    """Implements `Intake` and `Configurator` of `driftlock.engine.ports`.

    An async context manager: leaving it commits what is queued. `shard` has to be acquired. `node` names this process in the
    meter. `recent` has committed batches for a reader in this process. `on_commit(seq)` is called on the event loop after
    every commit with the position reached, so that the applier need not poll; it must not block or raise.
    """

    def __init__(
        self,
        database: Database,
        shard: Shard,
        *,
        node: str,
        on_commit: Callable[[int], None],
        limits: JournalLimits | None = None,
        backlog: Backlog | None = None,
    ) -> None:
        """Nothing runs before it is entered. `backlog` is told what commits, and refuses what would be too much of it."""
        self._database = database
        self._appending = database.reserved(Lane.APPEND)
        self._backlog = backlog
        self._shard = shard
        self._node = node
        self._on_commit = on_commit
        self._limits = limits or JournalLimits()
        self.recent = RecentBatches(self._limits.recent_bytes_max)
        self._arriving = Room(requests_max=self._limits.arriving_requests_max, bytes_max=self._limits.arriving_bytes_max)
        self._compressor = records.body_compressor()
        self._stream_ids = StreamIds(database, entries_max=self._limits.stream_cache_entries_max, shard=shard.number)
        self._queue: deque[Pending] = deque()
        self._queued_bytes = 0
        self._crowded = False  # had the last group more than one request?
        self._wake = asyncio.Event()
        self._open = False
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to take requests."""
        self._open = True
        self._runner = asyncio.create_task(self._run(), name="journal")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what is queued, within `drain_timeout_ms`; the rest is answered `Unavailable`. Safe to call twice."""
        self._open = False
        self._wake.set()
        if self._runner is not None:
            done, _ = await asyncio.wait({self._runner}, timeout=self._limits.drain_timeout_ms / 1000)
            if not done:
                self._runner.cancel()
                await asyncio.wait({self._runner})
            self._runner = None
        self._fail(self._queue, _stopping())
        self._queue.clear()

    @property
    def owner(self) -> Owner:
        """Shard, epoch and the most bytes of the journal: what statements of the owner begin with."""
        return self._shard.number, self._shard.epoch, self._limits.journal_bytes_max

    @property
    def queued_bytes(self) -> int:
        """Compressed bytes that wait or are being committed."""
        return self._queued_bytes

    @property
    def queued_requests(self) -> int:
        """Requests that wait for the next group."""
        return len(self._queue)

    async def submit(self, submission: Submission) -> Receipt:
        """Return when the records are on disk. Cancelling the caller does not take a queued request back.

        Raises `Unavailable` (queue or journal full, database away, stopping, taken over), `NotFound` (no such tenant),
        `InvalidArgument` (a key or value that can not be stored), `KeyReused` (its `request_hash` is known with another
        `content_hash`). After `Unavailable` the records may be durable all the
        same; a resend with the same `request_hash` is then answered as a duplicate.
        """
        parts = [part for part in submission.batches if len(part.batch)]
        if not parts:
            return Receipt(seq=0, records=0)
        self._admit(0)
        if self._backlog is not None:
            self._backlog.check(self._queued_bytes, submission.received_ns)
        raw_bytes = [len(part.batch.text) for part in parts]
        with self._arriving.hold(sum(part.batch.size_bytes for part in parts)):
            streams = await self._stream_ids.resolve(submission.tenant_id, [part.key for part in parts])
            if sum(raw_bytes) + sum(len(part.batch.trace_ids) for part in parts) > self._limits.encode_inline_bytes_max:
                bodies = await asyncio.to_thread(encode, parts, records.body_compressor())
            else:
                bodies = encode(parts, self._compressor)
        size = sum(map(len, bodies))
        self._admit(size)
        pending = Pending(
            submission,
            parts,
            [stream.stream_id for stream in streams],
            [part.records for part in parts],
            raw_bytes,
            bodies,
            sum(part.records for part, stream in zip(parts, streams, strict=True) if stream.overflow),
            size,
        )
        self._queue.append(pending)
        self._queued_bytes += size
        self._wake.set()
        return await asyncio.shield(pending.done)

    async def append_clock(self, now_ns: int) -> int:
        """Journal what the wall clock says; returns the position. Raises `Conflict` after a take-over, `Unavailable`."""
        try:
            seq = await self._appending.node(clock_row(self._shard, now_ns))
        except Conflict as error:
            raise self._shard.lost() from error
        self._on_commit(seq)
        return seq

    async def append_time(self, tenant_id: UUID, stream_id: UUID, now_ns: int) -> int | None:
        """Tell a stream what the wall clock says, as one of its own rows; returns the position, None when it is gone.

        Raises `Unavailable`, after a take-over too.
        """
        return await self.owning(time_row(self._shard, tenant_id, stream_id, now_ns))

    async def controlling(self, tenant_id: UUID, stream_id: UUID | None, work: Work) -> int | None:  # noqa: ARG002  # its own
        """Do `work` as the owner: this one, whatever it is about. Raises as `owning` does."""
        return await self.owning(lambda connection: work(connection, self.owner))

    async def create_stream(self, tenant_id: UUID, key: StreamKey, profile: Profile) -> bool:
        """Create the stream of `key` with `profile` in force before its first record.

        False when there is a stream with records or a profile, or when the tenant may have no more streams: then nothing has
        changed. Raises `NotFound` (no such tenant), `InvalidArgument` (a key that can not be one), `Unavailable`.
        """
        self._admit(0)
        (stream,) = await self._stream_ids.resolve(tenant_id, [key])
        fresh = Configuration(tenant_id, stream.stream_id, profile, fresh=True)
        return not stream.overflow and await self.owning(fresh.work(self.owner)) is not None

    def forget_streams(self, tenant_id: UUID) -> None:
        """Ask again for the streams of a tenant: one of them is another by now."""
        self._stream_ids.forget(tenant_id)

    async def owning(self, work: Callable[[Connection], Awaitable[int | None]]) -> int | None:
        """Do what only the owner of the shard may do; the position that it tells, if any, is where the journal ends by then.

        Raises `Unavailable` after a take-over, and while nothing is taken.
        """
        self._admit(0)
        try:
            seq = await self._database.node(work)
        except Conflict as error:
            self._shard.lost()
            raise _taken_over() from error
        if seq is not None:
            self._on_commit(seq)
        return seq

    def _admit(self, size: int) -> None:
        """Refuse before work is done for nothing."""
        if not self._open:
            raise _stopping()
        if self._shard.fenced.is_set():
            raise _taken_over()
        if self._queued_bytes + size > self._limits.queue_bytes_max or len(self._queue) >= self._limits.queue_requests_max:
            raise Unavailable("too much waits for the database; retry", retry_after_ms=RETRY_AFTER_MS)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._gather()
                group = self._take()
                try:
                    await self._commit(group)
                except asyncio.CancelledError:
                    self._fail(group, _stopping())
                    raise
            if not self._open:
                return

    async def _gather(self) -> None:
        """Let small requests of many senders come together: a commit costs as much as to receive several of them."""
        if self._crowded and self._open and self._queued_bytes < self._limits.gather_bytes_max:
            await asyncio.sleep(self._limits.gather_ms / 1000)

    def _take(self) -> list[Pending]:
        """The next group: at least one request, and as many more as fit."""
        group = [self._queue.popleft()]
        size = group[0].size
        while self._queue and len(group) < self._limits.group_requests_max:
            size += self._queue[0].size
            if size > self._limits.group_bytes_max:
                break
            group.append(self._queue.popleft())
        self._crowded = len(group) > 1
        return group

    async def _commit(self, group: list[Pending]) -> None:
        """Commit a group and answer its callers; never raises but for cancellation."""
        try:
            outcome = await self._appending.node(lambda connection: self._append(connection, group))
        except Conflict as error:
            self._shard.lost()
            log.error("%s", error)
            self._fail(group, _taken_over())
        except DriftlockError as error:
            if len(group) > 1 and error.__cause__ is not None and is_poison(error.__cause__):
                middle = len(group) // 2
                await self._commit(group[:middle])
                await self._commit(group[middle:])
                return
            if isinstance(error, NotFound):
                self._stream_ids.forget(group[0].submission.tenant_id)
            self._fail(group, error)
        except Exception:
            log.exception("a group of %d requests could not be journaled", len(group))
            self._fail(group, Internal("the records could not be journaled; this is a bug, please report it"))
        else:
            for pending, (became, seq) in zip(group, outcome, strict=True):
                if became == KEY_REUSED:
                    self._fail([pending], KeyReused("this Idempotency-Key came with another request before; use a new one"))
                    continue
                if became != DUPLICATE:  # its rows have consecutive positions
                    for at, part in enumerate(pending.parts, seq + 1 - len(pending.parts)):
                        self.recent.add(at, part.batch)
                    if self._backlog is not None:
                        size = pending.size + ROW_BYTES * len(pending.parts)
                        self._backlog.committed(seq, size, pending.submission.received_ns)
                self._answer(pending, duplicate=became == DUPLICATE, seq=seq)
            self._on_commit(max(seq for _, seq in outcome))

    async def _append(self, connection: Connection, group: list[Pending]) -> list[tuple[int, int]]:
        rows = await connection.fetch(
            APPEND,
            self._shard.number,
            self._shard.epoch,
            self._node,
            self._limits.dedup_window_ms * 1_000_000,
            self._limits.journal_bytes_max,
            *columns(group),
        )
        return [(row["outcome"], row["seq"]) for row in rows]

    def _answer(self, pending: Pending, *, duplicate: bool, seq: int) -> None:
        self._queued_bytes -= pending.size
        if not pending.done.done():
            pending.done.set_result(
                Receipt(
                    seq=seq,
                    records=0 if duplicate else sum(pending.counts),
                    duplicate=duplicate,
                    overflowed=0 if duplicate else pending.overflowed,
                    stream_ids=tuple(pending.streams),
                )
            )

    def _fail(self, group: Iterable[Pending], error: DriftlockError) -> None:
        for pending in group:
            self._queued_bytes -= pending.size
            if not pending.done.done():
                # One exception each: a shared one would collect the tracebacks of all its callers.
                own = type(error)(error.message, retry_after_ms=error.retry_after_ms, pointer=error.pointer)
                own.reason = error.reason
                own.__cause__ = error.__cause__
                pending.done.set_exception(own)
                pending.done.exception()  # mark it as seen, for callers that have left


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping; retry", retry_after_ms=RETRY_AFTER_MS)


def _taken_over() -> Unavailable:
    """To a client a take-over is a reason to retry: the new owner will answer."""
    return Unavailable(f"{FENCED}; retry", retry_after_ms=TAKEN_OVER_RETRY_AFTER_MS)
