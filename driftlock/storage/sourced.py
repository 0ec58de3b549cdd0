"""The journal of a shard whose records come from a partition of a topic: exactly once, whatever is read again.

    messages ──> streams ──> one transaction: the shard's lock, the position moves, rows, gaps, dead letters ──> receipts

The position in the source is where the rows are. What is not committed never happened: its messages are read again from there.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import asyncpg

from driftlock.engine import records
from driftlock.engine.event import StreamKey
from driftlock.engine.ports import Receipt, StreamBatch, Submission
from driftlock.engine.selecting import selected
from driftlock.errors import Conflict, DriftlockError, InvalidArgument, NotFound, Unavailable
from driftlock.storage.appending import Pending, columns
from driftlock.storage.backlog import ROW_BYTES, Backlog
from driftlock.storage.bridged import take
from driftlock.storage.clock_rows import clock_row, time_row
from driftlock.storage.dead_letters import DeadLetter, save_dead_letters
from driftlock.storage.faults import FENCED, RETRY_AFTER_MS, is_poison, sqlstate_of, translate
from driftlock.storage.journal import APPEND, DUPLICATE, KEY_REUSED
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.journal_reader import LAST
from driftlock.storage.ledger import ADD as ADD_TO_LEDGER
from driftlock.storage.pool import Connection, Database, Lane
from driftlock.storage.recent import RecentBatches
from driftlock.storage.shard import Shard
from driftlock.storage.source_positions import ADVANCE, SourceGap, SourcePosition, SourcePositions, save_gaps
from driftlock.storage.stream_ids import StreamId, StreamIds

log = logging.getLogger(__name__)
LATE_NS_MAX = 24 * 3600 * 1_000_000_000
STALE_TRIES_MAX = 3
"""So often streams are looked for again that have gone meanwhile."""
MISUSED = "its request hash stands for another request already"


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """A message as it came, and the submission of one stream that it holds: `value` is the journal's body of its batch."""

    offset: int
    submission: Submission
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Messages of a partition in their order, with what could not be decoded, and what the source did not hold any more.

    It takes the position from `from_offset` to `next_offset`.
    """

    topic: str
    partition: int
    from_offset: int
    next_offset: int
    messages: Sequence[SourceMessage] = ()
    dead: Sequence[DeadLetter] = ()
    gaps: Sequence[SourceGap] = ()


@dataclass(slots=True)
class _Row:
    """A message on its way into the journal: its place among those of the batch, and what became of it."""

    place: int
    message: SourceMessage
    pending: Pending
    outcome: int = 0
    seq: int = 0


Dead = list[tuple[int, str]]
"""Places of messages that can not be journaled, with the reasons."""


class SourcedJournal:
    """Appends to a shard what its source holds; implements `ClockJournal` of `driftlock.engine.dispatch` too.

    One call of `append_from` at a time. `shard` has to be acquired. `node` names this process in the meter. `recent` and
    `on_commit(seq)` are as those of `driftlock.storage.journal.Journal`.
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
        home: Callable[[UUID], int] | None = None,
        clock: Callable[[int], Awaitable[int]] | None = None,
        now_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        """`backlog` is told what commits. It refuses nothing here: whoever reads the source pauses.

        `home` tells the shard of a tenant's fold (None: this one), `clock` what time (ns) may be written down at a time.
        `now_ns`: requests are remembered from when they are journaled on, however long they have lain in the source, or else
        those of a long backlog were forgotten before what was sent twice is read the second time.
        """
        self._database = database
        self._appending = database.reserved(Lane.APPEND)
        self._shard = shard
        self._node = node
        self._on_commit = on_commit
        self._limits = limits or JournalLimits()
        self._backlog = backlog
        self._now_ns = now_ns
        self.recent = RecentBatches(self._limits.recent_bytes_max)
        self._stream_ids = StreamIds(database, entries_max=self._limits.stream_cache_entries_max, shard=shard.number, home=home)
        self._positions = SourcePositions(database)
        self._clock = clock
        self._in_doubt = False

    async def position(self) -> SourcePosition | None:
        """Where to read on, after `Unavailable` too, when a commit may have gone through without an answer; None: anywhere.

        Raises `Unavailable`.
        """
        found = await self._positions.get(self._shard.number)
        if self._in_doubt:
            if self._backlog is not None:
                await self._backlog.load(self._database, self._shard.number)
            last_seq = await self._database.node(lambda connection: connection.fetchval(LAST, self._shard.number))
            self._in_doubt = False
            self._on_commit(last_seq)
        return found

    async def append_from(self, source: SourceBatch) -> list[Receipt | None]:
        """Journal the messages and move the position past them, or do neither; a receipt for each, None for a dead letter.

        A message that can not be journaled, because its tenant is gone or its data is refused, becomes a dead letter, and the
        others go on. Raises `Conflict` after a take-over, and when the position is not `source.from_offset`; `Unavailable`,
        after which `position` tells whether it was committed; ValueError for a message that is not of one stream.
        """
        if any(len(it.submission.batches) != 1 for it in source.messages):
            raise ValueError("a message holds the records of one stream")
        for _ in range(STALE_TRIES_MAX):
            if self._shard.fenced.is_set():
                raise self._shard.lost()
            rows, dead = await self._rows(source.messages)
            try:
                gone, dead = await self._appending.node(partial(self._commit, source=source, rows=rows, without_stream=dead))
            except Conflict as error:
                if error.__cause__ is not None and sqlstate_of(error.__cause__) == "ZD001":
                    raise self._shard.lost() from error
                raise
            except BaseException:
                self._in_doubt = True
                raise
            if not gone:
                return self._receipts(source, rows, dead)
            # Somebody has deleted streams: the next records of their keys begin others.
            for tenant_id in {it.message.submission.tenant_id for it in rows if it.pending.streams[0] in gone}:
                self._stream_ids.forget(tenant_id)
        raise Unavailable("streams are being deleted faster than they can be found; retry", retry_after_ms=RETRY_AFTER_MS)

    async def append_clock(self, now_ns: int) -> int:
        """Journal what the wall clock says; returns the position. Raises `Conflict` after a take-over, `Unavailable`."""
        if self._clock is not None:
            now_ns = await self._clock(now_ns)
        try:
            seq = await self._appending.node(clock_row(self._shard, now_ns))
        except Conflict as error:
            raise self._shard.lost() from error
        self._on_commit(seq)
        return seq

    async def append_time(self, tenant_id: UUID, stream_id: UUID, now_ns: int) -> int | None:
        """Tell a stream what the wall clock says; returns the position, None when it is gone. Raises `Unavailable`."""
        try:
            seq = await self._database.node(time_row(self._shard, tenant_id, stream_id, now_ns))
        except Conflict as error:
            self._shard.lost()
            raise Unavailable(f"{FENCED}; retry", retry_after_ms=RETRY_AFTER_MS) from error
        if seq is not None:
            self._on_commit(seq)
        return seq

    async def _rows(self, messages: Sequence[SourceMessage]) -> tuple[list[_Row], Dead]:
        """Messages with their streams, and those that can have none. A tenant's streams are asked for together."""
        keys: dict[UUID, dict[StreamKey, None]] = {}
        for it in messages:
            keys.setdefault(it.submission.tenant_id, {})[it.submission.batches[0].key] = None
        found = {tenant_id: await self._streams(tenant_id, list(wanted)) for tenant_id, wanted in keys.items()}
        rows, dead = list[_Row](), Dead()
        for place, it in enumerate(messages):
            (part,) = it.submission.batches
            if not len(part.batch):
                continue
            stream = found[it.submission.tenant_id][part.key]
            if isinstance(stream, str):
                dead.append((place, stream))
                continue
            overflowed = part.records if stream.overflow else 0
            size = [len(part.batch.text)]
            pending = Pending(
                it.submission, [part], [stream.stream_id], [part.records], size, [it.value], overflowed, len(it.value)
            )
            rows.append(_Row(place, it, pending))
        return rows, dead

    async def _streams(self, tenant_id: UUID, keys: list[StreamKey]) -> dict[StreamKey, StreamId | str]:
        """The stream of each key, or why there is none."""
        try:
            return dict(zip(keys, await self._stream_ids.resolve(tenant_id, keys), strict=True))
        except (InvalidArgument, NotFound) as error:
            if len(keys) == 1 or isinstance(error, NotFound):
                return dict.fromkeys(keys, error.message)
        found: dict[StreamKey, StreamId | str] = {}
        for key in keys:
            found |= await self._streams(tenant_id, [key])
        return found

    async def _commit(
        self, connection: Connection, *, source: SourceBatch, rows: list[_Row], without_stream: Dead
    ) -> tuple[list[UUID], Dead]:
        """The transaction: streams that are gone, if any are, and nothing has happened; else what became a dead letter."""
        async with connection.transaction():
            streams = list({it.pending.streams[0] for it in rows})
            at = (source.topic, source.partition, source.from_offset, source.next_offset)
            gone: list[UUID] = await connection.fetchval(ADVANCE, self._shard.number, self._shard.epoch, *at, streams)
            if gone:
                return gone, []
            await save_gaps(connection, self._shard.number, source.topic, source.partition, source.gaps)
            refused = dict(without_stream)
            for group in self._groups(await self._unread(connection, rows)):
                refused.update(await self._append(connection, group))
            dead = sorted(refused.items())
            letters = [_letter(source, source.messages[place], reason) for place, reason in dead]
            await save_dead_letters(connection, [*source.dead, *letters])
            await self._note_refused(connection, [source.messages[place].submission for place, _ in dead])
        return [], dead

    async def _unread(self, connection: Connection, rows: list[_Row]) -> list[_Row]:
        """Rows without what a bridge has written before; those that have nothing else are duplicates.

        From the messages each time: the transaction may be tried again.
        """
        if all(it.message.submission.origin is None for it in rows):
            return rows
        kept = list[_Row]()
        found = await take(connection, self._shard.number, [it.message.submission for it in rows])
        for row, left in zip(rows, found, strict=True):
            row.outcome = DUPLICATE if left == [] else 0
            if left:
                row.pending = _rest(row, left)
            if left != []:
                kept.append(row)
        return kept

    def _groups(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        """Rows as many as fit a statement."""
        group, size = list[_Row](), 0
        for row in rows:
            full = len(group) == self._limits.group_requests_max or size + row.pending.size > self._limits.group_bytes_max
            if group and full:
                yield group
                group, size = [], 0
            group.append(row)
            size += row.pending.size
        if group:
            yield group

    async def _append(self, connection: Connection, group: list[_Row]) -> Dead:
        """Journal a group; those that can not be: halves are tried until they are alone."""
        owner = (self._shard.number, self._shard.epoch, self._node)
        limits = (self._window_ns(group), self._limits.journal_bytes_max)
        try:
            async with connection.transaction():  # a savepoint
                outcomes = await connection.fetch(APPEND, *owner, *limits, *columns([it.pending for it in group]))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not is_poison(error):
                raise
            if len(group) == 1:
                return [(group[0].place, _reason(error))]
            middle = len(group) // 2
            return [*await self._append(connection, group[:middle]), *await self._append(connection, group[middle:])]
        for row, became in zip(group, outcomes, strict=True):
            row.outcome, row.seq = became["outcome"], became["seq"]
        return [(it.place, MISUSED) for it in group if it.outcome == KEY_REUSED]

    def _window_ns(self, group: Sequence[_Row]) -> int:
        """How long the requests of a group are remembered after their receipt; 0 when none is."""
        oldest_ns = min(it.message.submission.received_ns for it in group)
        late_ns = min(max(0, self._now_ns() - oldest_ns), LATE_NS_MAX)
        return self._limits.dedup_window_ms and self._limits.dedup_window_ms * 1_000_000 + late_ns

    async def _note_refused(self, connection: Connection, refused: Sequence[Submission]) -> None:
        """What was received and not journaled goes into the ledger, so that it adds up."""
        if refused:
            await connection.execute(
                ADD_TO_LEDGER,
                self._node,
                [it.tenant_id for it in refused],
                [it.signal.value for it in refused],
                [it.received_records for it in refused],
                [it.rejected for it in refused],
                [it.records for it in refused],
            )

    def _receipts(self, source: SourceBatch, rows: Sequence[_Row], dead: Dead) -> list[Receipt | None]:
        receipts: list[Receipt | None] = [Receipt(seq=0, records=0) for _ in source.messages]
        refused = dict(dead)
        last_seq = 0
        for it in rows:
            if it.place in refused:
                continue
            duplicate = it.outcome == DUPLICATE
            last_seq = max(last_seq, it.seq)
            if not duplicate:
                self.recent.add(it.seq, it.pending.parts[0].batch)
                if self._backlog is not None:
                    self._backlog.committed(it.seq, it.pending.size + ROW_BYTES, it.message.submission.received_ns)
            receipts[it.place] = Receipt(
                seq=it.seq,
                records=0 if duplicate else it.pending.counts[0],
                duplicate=duplicate,
                overflowed=0 if duplicate else it.pending.overflowed,
                stream_ids=tuple(it.pending.streams),
            )
        for place, reason in dead:
            receipts[place] = None
            message = source.messages[place]
            log.warning("%s/%d at %d is a dead letter: %s", source.topic, source.partition, message.offset, reason)
            self._stream_ids.forget(message.submission.tenant_id)
        if last_seq:
            self._on_commit(last_seq)
        return receipts


def _letter(source: SourceBatch, it: SourceMessage, reason: str) -> DeadLetter:
    return DeadLetter(source.topic, source.partition, it.offset, reason, it.key, it.value, it.headers, it.submission.tenant_id)


def _rest(row: _Row, numbers: Sequence[int]) -> Pending:
    """Some records of a message: another bridge has grouped it otherwise."""
    submission, streams = row.message.submission, row.pending.streams
    (part,) = submission.batches
    rest = StreamBatch(part.key, selected(part.batch, numbers))
    body = records.encode(rest.batch)
    overflowed = rest.records if row.pending.overflowed else 0
    less = replace(submission, batches=(rest,), received=None)
    return Pending(less, [rest], streams, [rest.records], [len(rest.batch.text)], [body], overflowed, len(body))


def _reason(error: BaseException) -> str:
    told = translate(error)
    return told.message if isinstance(told, DriftlockError) else "the database refused it"
