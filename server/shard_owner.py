"""The work on one partition: its messages become rows of its shard of the journal, and these are folded.

    messages ──> decoded ──> one transaction (rows, next offset, dead letters, gaps) ──> the shard's dispatcher

Partition p is shard p + 1. Whatever stops this work loses nothing: Kafka has what is not committed, the journal the rest.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Never
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from collector.kafka.assignment import Hold
from collector.kafka.bad_share import BadShare
from collector.kafka.consumer import Missing, PartitionConsumer, Taken
from collector.kafka.message import TENANT, BadMessage, decode
from driftlock.engine.limits import MINUTE_NS, SECOND_NS
from driftlock.engine.ports import Receipt, Step
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.anchors import Anchors
from driftlock.storage.backlog import Backlog
from driftlock.storage.controls import Controls
from driftlock.storage.dead_letters import DeadLetter
from driftlock.storage.derived import take_derived
from driftlock.storage.faults import FENCED
from driftlock.storage.identity import REPLACED
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.shard_clock import common_clock
from driftlock.storage.shard_standing import Standing
from driftlock.storage.source_positions import SourceGap
from driftlock.storage.sourced import SourceBatch, SourcedJournal, SourceMessage
from server.anchor_resets import reset_drifted
from server.ownership import Ownership, Share
from server.process import until
from server.settings import Settings
from server.shards import KafkaPlacement
from server.telemetry import Telemetry
from server.worker_metrics import WorkerCounters

GROUP_MESSAGES_MAX = 512
GROUP_BYTES_MAX = 8 * 1024**2
RETRY_PAUSE_S = 0.5
DECODE_INLINE_BYTES_MAX = 64 * 1024
QUIET_NS = SECOND_NS  # without messages for so long a partition is taken to be read to its end
CLOCK_PATIENCE_NS = 5 * MINUTE_NS  # for a shard of a tenant that does not come on


class WrongTopic(Exception):
    """A shard reads another topic than the settings say: the process must stop, and the text says what to set."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What all partitions of a worker share."""

    settings: Settings
    database: Database
    controls: Controls
    telemetry: Telemetry
    counters: WorkerCounters
    topic: str
    placement: KafkaPlacement
    share: Callable[[int], Share]
    on_step: Callable[[Step], None]
    evidence: bool
    decoding: Executor
    log: FilteringBoundLogger


@dataclass(slots=True)
class _Group:
    """Messages in a row, decoded: what goes into one transaction. `size` is what they count against the limits."""

    next_offset: int = 0
    size: int = 0
    messages: list[SourceMessage] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    gaps: list[SourceGap] = field(default_factory=list)
    bad: list[bool] = field(default_factory=list)


class ShardOwner:
    """One partition of one assignment. `run` does the work; `take` is given what was read, in order."""

    def __init__(self, parts: WorkerParts, consumer: PartitionConsumer, partition: int, generation: int) -> None:
        """Nothing is owned before `run`."""
        self.partition, self.generation = partition, generation
        self._parts, self._consumer = parts, consumer
        self._log = parts.log.bind(partition=partition)
        self._share = parts.share(partition)
        self.shard = self._share.shard
        self._queue: deque[Taken | Missing] = deque()
        self._more, self._stepped = asyncio.Event(), asyncio.Event()
        self._newest = BadShare()
        self._position = 0
        self._halted = False
        self._journaled: deque[tuple[int, int]] = deque()
        """Position and newest receive time of groups that are journaled and not folded yet."""
        self._writing = False
        self._taken_ns = self._folded_ns = 0
        self._ownership: Ownership[SourcedJournal] | None = None

    async def run(self) -> None:
        """Own the shard, journal and fold until it is cancelled.

        Raises `Conflict` when another process owns it, `Unavailable` when it can not be taken over now, `WrongTopic`, and
        whatever else ends the work.
        """
        parts = self._parts
        async with AsyncExitStack() as stack:
            owned = Ownership(
                parts.settings,
                parts.database,
                parts.telemetry,
                self._log,
                stack,
                self._on_step,
                self._journal,
                evidence=parts.evidence,
                share=self._share,
            )
            await owned.take_over()
            self._position = await self._begin(owned.journal)
            self._ownership = owned
            self._consumer.open(self.partition, self.generation, self._position)
            self._log.info("partition taken over", epoch=owned.shard.epoch, offset=self._position)
            resets = partial(reset_drifted, Anchors(parts.database, parts.controls, self.shard), self._log)
            watched: dict[str, Callable[[], Awaitable[None]]] = {
                **owned.work,
                "journaling": self._journal_for_ever,
                "the reset of anchors": resets,
            }
            await until(asyncio.Event(), watched, owned.shard.fenced)
        raise Conflict(FENCED)  # out here: what is refused while it stops is expected

    def take(self, read: Sequence[Taken | Missing]) -> None:
        """These come next."""
        if self._halted:
            self._done_with(sum(it.size for it in read if isinstance(it, Taken)))
            return
        self._queue.extend(read)
        self._taken_ns = time.time_ns()
        self._more.set()

    @property
    def rows(self) -> tuple[int, int]:
        """The last position of the shard's journal, and the applied one."""
        owned = self._ownership
        return (0, 0) if owned is None else (owned.progress.last_seq, owned.detection.applied_seq)

    @property
    def fenced(self) -> bool:
        """Whether another process was found to own the shard."""
        return self._ownership is not None and self._ownership.shard.fenced.is_set()

    def standing(self) -> Standing | None:
        """What we know of the shard, to be compared with what is found afterwards; None before it is ours."""
        owned = self._ownership
        return None if owned is None else Standing(owned.shard.epoch, owned.progress.last_seq, owned.detection.applied_seq)

    def noticed(self, known: Standing, found: Standing) -> None:
        """The shard was looked at after `known` was true. Rows may be there that others have appended: control records."""
        owned = self._ownership
        if owned is None or owned.shard.epoch != known.epoch:
            return
        older = found.epoch < known.epoch or found.last_seq < known.last_seq or found.applied_seq < known.applied_seq
        if older:
            self._log.error(REPLACED)
        if older or found.epoch > known.epoch:
            owned.shard.lost()
        elif found.last_seq > owned.progress.last_seq:
            owned.progress.committed(found.last_seq)

    def _journal(
        self, shard: Shard, on_commit: Callable[[int], None], limits: JournalLimits, backlog: Backlog
    ) -> SourcedJournal:
        placement = self._parts.placement
        return SourcedJournal(
            self._parts.database,
            shard,
            node=socket.gethostname(),
            on_commit=on_commit,
            limits=limits,
            backlog=backlog,
            home=placement.home,
            clock=self._clock if placement.spread > 1 else None,
            now_ns=time.time_ns,
        )

    async def take_derived(self) -> None:
        """Journal what other shards have left for tenants of this one. Raises `Conflict`, `Unavailable`."""
        owned = self._owned
        seq = await take_derived(self._parts.database, owned.shard, journal_bytes_max=self._share.limits.journal_bytes_max)
        if seq is not None:
            owned.progress.committed(seq)

    async def _clock(self, now_ns: int) -> int:
        """What the clock may say: no more than what all shards of its tenants have come to, and have told."""
        shards = self._parts.placement.together(self.shard)
        now_ns = await common_clock(self._parts.database, shards, now_ns, patience_ns=CLOCK_PATIENCE_NS)
        await self.take_derived()
        return now_ns

    def folded_until(self, now_ns: int) -> tuple[int, int] | None:
        """Our epoch, and the time (ns) up to which all that had come is folded; None before the shard is ours."""
        owned = self._ownership
        if owned is None:
            return None
        applied_seq = owned.detection.applied_seq
        while self._journaled and self._journaled[0][0] <= applied_seq:
            self._folded_ns = max(self._folded_ns, self._journaled.popleft()[1])
        waits = bool(self._queue) or self._writing or bool(self._journaled) or self._consumer.seen.away
        if not waits and now_ns - self._taken_ns >= QUIET_NS:
            self._folded_ns = max(self._folded_ns, now_ns - QUIET_NS)
        return owned.shard.epoch, self._folded_ns

    async def _begin(self, journal: SourcedJournal) -> int:
        """Where to read from; what is not there any more by then is a gap."""
        found = await journal.position()
        if found is None:
            return 0
        if (found.topic, found.partition) != (self._parts.topic, self.partition):
            raise WrongTopic(
                f"shard {self.shard} of the database goes on in partition {found.partition} of the topic {found.topic}: "
                f"set DRIFTLOCK_KAFKA_TOPIC={found.topic}, or use another database"
            )
        return found.next_offset

    def _on_step(self, step: Step) -> None:
        self._stepped.set()
        self._parts.on_step(step)

    async def _journal_for_ever(self) -> Never:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                self._writing = True
                group = await self._decoded(self._next())
                await self._room()
                await self._append(group)
                if group.messages:
                    newest_ns = max(it.submission.received_ns for it in group.messages)
                    self._journaled.append((self._owned.progress.last_seq, newest_ns))
                self._writing = False
                self._done_with(group.size)
                self._consumer.commit(self.partition, self.generation, self._position)
                for bad in group.bad:
                    if self._newest.note(bad=bad):
                        await self._halt()

    def _next(self) -> list[Taken | Missing]:
        """At least one, and as many more as fit into a transaction.

        A gap is alone: messages after one that leads back could end where it began, and the position could not tell any more
        whether they were committed.
        """
        if isinstance(self._queue[0], Missing):
            return [self._queue.popleft()]
        found, size = list[Taken | Missing](), 0
        while self._queue and len(found) < GROUP_MESSAGES_MAX and size < GROUP_BYTES_MAX:
            it = self._queue[0]
            if isinstance(it, Missing):
                break
            size += it.size
            found.append(self._queue.popleft())
        return found

    async def _decoded(self, read: Sequence[Taken | Missing]) -> _Group:
        size = sum(it.size for it in read if isinstance(it, Taken))
        if size <= DECODE_INLINE_BYTES_MAX:
            return self._group(read, size)
        return await asyncio.get_running_loop().run_in_executor(self._parts.decoding, self._group, read, size)

    def _group(self, read: Sequence[Taken | Missing], size: int) -> _Group:
        group = _Group(size=size)
        for it in read:
            if isinstance(it, Missing):
                group.gaps.append(SourceGap(it.from_offset, it.to_offset, it.reason))
                group.next_offset = it.to_offset
                continue
            group.next_offset = it.offset + 1
            try:
                submission = decode(it.value, it.headers)
            except BadMessage as error:
                group.dead.append(self._letter(it, error.reason))
            else:
                group.messages.append(SourceMessage(it.offset, submission, it.value, it.key, it.headers))
        places = {letter.offset for letter in group.dead}
        group.bad = [it.offset in places for it in read if isinstance(it, Taken)]
        return group

    def _letter(self, it: Taken, reason: str) -> DeadLetter:
        tenant = dict(it.headers).get(TENANT, b"")
        known = UUID(bytes=tenant) if len(tenant) == len(UUID(int=0).bytes) else None
        return DeadLetter(self._parts.topic, self.partition, it.offset, reason, it.key, it.value, it.headers, known)

    async def _room(self) -> None:
        """Wait while too much is journaled and not scored; the partition is held for as long."""
        if (backlog := self._owned.backlog).bytes <= self._share.backlog_bytes_max:
            return
        self._hold(Hold.BACKLOG, on=True)
        while backlog.bytes > self._share.backlog_bytes_max // 2:
            self._stepped.clear()
            await self._stepped.wait()
        self._hold(Hold.BACKLOG, on=False)

    async def _append(self, group: _Group) -> None:
        """Commit a group, however long that takes; after a lost answer the position says whether it was. Raises `Conflict`."""
        journal, topic = self._owned.journal, self._parts.topic
        source = SourceBatch(topic, self.partition, self._position, group.next_offset, group.messages, group.dead, group.gaps)
        told = False
        while True:
            try:
                receipts: Sequence[Receipt | None] = await journal.append_from(source)
                break
            except Unavailable as error:
                if not told:
                    self._log.warning("messages wait for the database", why=error.message)
                told = True
            if await self._was_committed(journal, source):
                receipts = ()
                break
        self._position = group.next_offset
        self._count(group, receipts)

    async def _was_committed(self, journal: SourcedJournal, source: SourceBatch) -> bool:
        while True:
            await asyncio.sleep(RETRY_PAUSE_S)
            try:
                found = await journal.position()
            except Unavailable:
                continue
            if found is not None and found.next_offset not in (source.from_offset, source.next_offset):
                raise Conflict(f"the shard is at offset {found.next_offset}, not at {source.from_offset}")
            return found is not None and found.next_offset == source.next_offset

    def _count(self, group: _Group, receipts: Sequence[Receipt | None]) -> None:
        """`receipts` are empty when the answer was lost."""
        counters, partition = self._parts.counters, str(self.partition)
        dead = len(group.dead) + sum(receipt is None for receipt in receipts)
        records = sum(receipt.records for receipt in receipts if receipt is not None)
        if not receipts:
            records = sum(it.submission.records for it in group.messages)
        counters.messages.labels(partition).inc(len(group.messages) + len(group.dead) - dead)
        counters.records.labels(partition).inc(records)
        counters.duplicates.labels(partition).inc(sum(receipt is not None and receipt.duplicate for receipt in receipts))
        counters.dead.labels(partition).inc(dead)
        counters.missing.labels(partition).inc(len(group.gaps))
        if group.messages:
            delay_ns = time.time_ns() - group.messages[-1].submission.received_ns
            counters.delay.labels(partition).set(max(0, delay_ns) / 1e9)
        for letter in group.dead:
            self._log.warning("a message is a dead letter", offset=letter.offset, why=letter.reason)
        for gap in group.gaps:
            self._log.error("Kafka lost messages", from_offset=gap.from_offset, to_offset=gap.to_offset, why=gap.reason)

    async def _halt(self) -> Never:
        """Read nothing more: whatever writes such messages is to be looked at first. Waits until it is cancelled."""
        self._halted = True
        self._hold(Hold.BAD_MESSAGES, on=True)
        self._log.error(
            "the partition is paused: too many of its messages can not be read; see `driftlock dead-letters list`, put right "
            "what writes them, and start this worker again",
            bad_messages=self._newest.bad,
            offset=self._position,
        )
        self._done_with(sum(it.size for it in self._queue if isinstance(it, Taken)))
        self._queue.clear()
        await asyncio.Event().wait()
        raise AssertionError("unreachable: nobody sets it")

    def _hold(self, why: Hold, *, on: bool) -> None:
        self._consumer.hold(self.partition, self.generation, why, on=on)

    def _done_with(self, size: int) -> None:
        if size:
            self._consumer.stored(self.partition, self.generation, size)

    @property
    def _owned(self) -> Ownership[SourcedJournal]:
        assert self._ownership is not None  # noqa: S101  # set before anything is journaled
        return self._ownership
