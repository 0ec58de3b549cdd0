"""The work on one partition of a topic of other producers: its messages are handed over to our own topic, window by window.

    messages ──> requests ──> redacted, routed, in order ──> brokers acknowledge ──> dead letters kept ──> offset committed

Messages of a window are on their way together; the next window begins when all of the last one are acknowledged, so the offset
where a window begins is one before which nothing is missing. Whatever stops this work loses nothing: what is not committed is
read again, and what was handed over before is recognised by its place.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from collector.auth import Sender
from collector.kafka.assignment import Hold
from collector.kafka.bad_share import BadShare
from collector.kafka.consumer import Missing, PartitionConsumer, Taken
from collector.kafka.group_offsets import GroupOffsets
from collector.kafka.producer import KafkaIntake
from collector.otlp.export import Exporter, Unpack
from collector.otlp.status import ANSWERS
from driftlock.engine.origin import Origin
from driftlock.engine.ports import Intake, Receipt, Submission
from driftlock.errors import DriftlockError, Unavailable
from driftlock.storage.dead_letters import DeadLetter
from server.bridge_lines import BadLine, LineReader, LineRecord
from server.bridge_metrics import BridgeCounters
from server.bridge_sources import Source

REQUESTS_MAX = 64
LINES_MAX = 1000
WINDOW_BYTES_MAX = 4 * 1024**2
RETRY_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class BridgeParts:
    """What the partitions of a source share. `lines` is set where messages are records, `transcode` where they are no protobuf.

    `keep` keeps dead letters; `gone` is set once the tenant is not there any more.
    """

    source: Source
    kafka: KafkaIntake
    exporter: Callable[[Intake], Exporter]
    transcode: Unpack | None
    lines: LineReader | None
    offsets: GroupOffsets
    keep: Callable[[Sequence[DeadLetter]], Awaitable[None]]
    decoding: Executor
    counters: BridgeCounters
    gone: asyncio.Event
    log: FilteringBoundLogger


class OrderedIntake:
    """Implements `Intake`: `queued` is set as soon as what is submitted has its place among all that is."""

    def __init__(self, kafka: KafkaIntake) -> None:
        self._kafka = kafka
        self.queued = asyncio.Event()
        self.records = 0

    async def submit(self, submission: Submission) -> Receipt:
        """See `KafkaIntake.submit`."""
        done = await self._kafka.queue(submission)
        self.queued.set()
        await asyncio.shield(done)
        self.records += submission.records
        return Receipt(seq=0, records=submission.records)


@dataclass(slots=True)
class _Unit:
    """One request. Records of several messages come apart again where they can not be taken together."""

    body: bytes
    origin: Origin
    messages: Sequence[Taken]
    lines: Sequence[LineRecord] = ()
    bad: str = ""


@dataclass(slots=True)
class _Window:
    """Messages in a row: what is to be handed over of them, and what can not be."""

    units: deque[_Unit] = field(default_factory=deque)
    letters: list[DeadLetter] = field(default_factory=list)


class BridgePartition:
    """One partition of one assignment. `run` does the work until it is stopped; `take` is given what was read, in order."""

    def __init__(self, parts: BridgeParts, consumer: PartitionConsumer, partition: int, generation: int) -> None:
        """Nothing is read before `run`."""
        self.partition, self.generation = partition, generation
        self._parts, self._consumer = parts, consumer
        self._log = parts.log.bind(topic=parts.source.topic, partition=partition)
        self._sender = Sender(parts.source.tenant)
        self._intake = OrderedIntake(parts.kafka)
        self._exporter = parts.exporter(self._intake)
        self._queue: deque[Taken | Missing] = deque()
        self._more, self._stopping = asyncio.Event(), asyncio.Event()
        self._newest = BadShare()
        self._position, self._topic_id = 0, ""
        self._halted = False

    async def run(self) -> None:
        """Hand over until `stop`, or until it is cancelled. Raises `Unavailable` when nobody says where to begin."""
        begin = await asyncio.to_thread(self._parts.offsets.begin, self.partition)
        self._position, self._topic_id = begin.offset, begin.topic_id
        self._consumer.open(self.partition, self.generation, self._position)
        self._log.info("reading", offset=self._position)
        while not self._stopping.is_set():
            await self._more.wait()
            self._more.clear()
            while self._queue and not self._stopping.is_set():
                await self._step()
        self._commit()

    def stop(self) -> None:
        """End after the window that is under way; what waits for Kafka or the database is given up."""
        self._stopping.set()
        self._more.set()

    def take(self, read: Sequence[Taken | Missing]) -> None:
        """These come next."""
        if self._halted:
            self._done_with(read)
            return
        self._queue.extend(read)
        self._more.set()

    async def _step(self) -> None:
        """A gap, or a window."""
        if self._parts.gone.is_set():
            await self._halt("the tenant of this topic is not there any more: correct DRIFTLOCK_KAFKA_SOURCES, and start again")
            return
        first = self._queue[0]
        if isinstance(first, Missing):
            self._queue.popleft()
            await self._pass(first)
            return
        read = self._next()
        loop = asyncio.get_running_loop()
        window = await loop.run_in_executor(self._parts.decoding, self._window, read)
        before = self._intake.records
        if not (await self._hand_over(window) and await self._keep(window.letters)):
            return  # stopping: whoever reads this partition next reads it again
        self._position = read[-1].offset + 1
        self._done_with(read)
        self._commit()
        topic, partition = self._parts.source.topic, str(self.partition)
        counters = self._parts.counters
        counters.messages.labels(topic, partition).inc(len(read) - len(window.letters))
        counters.records.labels(topic, partition).inc(self._intake.records - before)
        counters.dead.labels(topic, partition).inc(len(window.letters))
        places = {letter.offset for letter in window.letters}
        if sum(self._newest.note(bad=it.offset in places) for it in read):
            await self._halt(
                "the partition is paused: too many of its messages can not be read; see `driftlock dead-letters list`, put "
                "right what writes them, or DRIFTLOCK_KAFKA_SOURCES, and start this bridge again"
            )

    async def _pass(self, gap: Missing) -> None:
        """Go on behind offsets that the topic does not have any more."""
        self._log.error("Kafka lost messages", from_offset=gap.from_offset, to_offset=gap.to_offset, why=gap.reason)
        self._parts.counters.missing.labels(self._parts.source.topic, str(self.partition)).inc()
        if gap.to_offset < gap.from_offset:  # a topic made anew
            self._topic_id = (await asyncio.to_thread(self._parts.offsets.begin, self.partition)).topic_id
        self._position = gap.to_offset
        self._commit()

    def _next(self) -> list[Taken]:
        """At least one message, and as many more as fit into a window."""
        found, size = list[Taken](), 0
        most = LINES_MAX if self._parts.lines is not None else REQUESTS_MAX
        while self._queue and len(found) < most:
            it = self._queue[0]
            if isinstance(it, Missing) or (found and size + it.size > WINDOW_BYTES_MAX):
                break
            size += it.size
            found.append(it)
            self._queue.popleft()
        return found

    def _window(self, read: Sequence[Taken]) -> _Window:
        """What is to be handed over of messages. On a thread."""
        window, lines = _Window(), self._parts.lines
        if lines is None:
            window.units.extend(_Unit(it.value, self._origin(it.offset), (it,)) for it in read if it.value)
            return window
        records: list[LineRecord] = []
        kept: list[Taken] = []
        for it in read:
            try:
                record = lines.record(it)
            except BadLine as error:
                window.letters.append(self._letter(it, str(error)))
                continue
            if record is not None:
                records.append(record)
                kept.append(it)
        if records:
            window.units.append(self._together(lines, records, kept))
        return window

    def _together(self, lines: LineReader, records: Sequence[LineRecord], messages: Sequence[Taken]) -> _Unit:
        """Records as one request; one alone needs no list of places."""
        request = lines.request(records)
        if len(records) == 1:
            return _Unit(request.body, self._origin(records[0].offset), messages, records)
        source = self._parts.source
        origin = Origin(source.topic, self.partition, self._topic_id, self._position, offsets=request.offsets)
        return _Unit(request.body, origin, messages, records)

    def _origin(self, offset: int) -> Origin:
        return Origin(self._parts.source.topic, self.partition, self._topic_id, self._position, offset)

    async def _hand_over(self, window: _Window) -> bool:
        """Until the brokers have all units of a window, or it is clear that they never will; False when it has to stop."""
        units, told = window.units, False
        while units:
            late = await self._deliver(units)
            for unit in late:
                if not unit.bad:
                    units.append(unit)
                elif len(unit.lines) > 1:
                    units.extend(self._apart(unit))
                else:
                    window.letters.append(self._letter(unit.messages[0], unit.bad))
            if any(not unit.bad for unit in late):
                if self._stopping.is_set():
                    return False
                if not told:
                    self._log.warning("messages wait for Kafka or the database")
                told = True
                await self._pause()
        return True

    def _apart(self, unit: _Unit) -> list[_Unit]:
        """Halves of what could not be taken together."""
        lines = self._parts.lines
        assert lines is not None  # noqa: S101  # it has lines
        middle = len(unit.lines) // 2
        return [
            self._together(lines, unit.lines[part], unit.messages[part]) for part in (slice(0, middle), slice(middle, None))
        ]

    async def _deliver(self, units: deque[_Unit]) -> list[_Unit]:
        """Hand over units in their order, not waiting for the answer to one before the next; those that were not taken.

        The first one that has to wait is the last one that is tried: what is behind it comes after it again.
        """
        sent: list[tuple[_Unit, asyncio.Task[bool]]] = []
        while units:
            unit = units.popleft()
            self._intake.queued.clear()
            task = asyncio.create_task(self._send(unit))
            sent.append((unit, task))
            queued = asyncio.create_task(self._intake.queued.wait())
            await asyncio.wait({task, queued}, return_when=asyncio.FIRST_COMPLETED)
            queued.cancel()
            if task.done() and not task.result() and not unit.bad:
                break
        rest = list(units)
        units.clear()
        taken = await asyncio.gather(*(task for _, task in sent))
        return [unit for (unit, _), done in zip(sent, taken, strict=True) if not done] + rest

    async def _send(self, unit: _Unit) -> bool:
        """Whether the brokers have a unit; `bad` says why they never will."""
        signal, exporter = self._parts.source.signal, self._exporter
        try:
            slot = exporter.admit(signal, len(unit.body), self._sender)
            transcode, whole = self._parts.transcode, bool(unit.lines)
            await exporter.export(signal, self._sender, unit.body, slot, transcode=transcode, origin=unit.origin, whole=whole)
        except DriftlockError as error:
            if not ANSWERS[error.code].retryable:
                unit.bad = error.message
            return False
        return True

    async def _keep(self, letters: Sequence[DeadLetter]) -> bool:
        """Keep dead letters, however long that takes; False when it has to stop."""
        while letters:
            try:
                await self._parts.keep(letters)
            except Unavailable:
                if self._stopping.is_set():
                    return False
                await self._pause()
                continue
            for letter in letters:
                self._log.warning("a message is a dead letter", offset=letter.offset, why=letter.reason)
            break
        return True

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(RETRY_PAUSE_S):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _letter(self, it: Taken, reason: str) -> DeadLetter:
        source = self._parts.source
        return DeadLetter(source.topic, self.partition, it.offset, reason, it.key, it.value, it.headers, source.tenant)

    def _commit(self) -> None:
        self._consumer.commit(self.partition, self.generation, self._position)

    def _done_with(self, read: Sequence[Taken | Missing]) -> None:
        size = sum(it.size for it in read if isinstance(it, Taken))
        if size:
            self._consumer.stored(self.partition, self.generation, size)

    async def _halt(self, why: str) -> None:
        """Read nothing more until it is stopped."""
        self._halted = True
        self._consumer.hold(self.partition, self.generation, Hold.BAD_MESSAGES, on=True)
        self._log.error(why, offset=self._position, bad_messages=self._newest.bad)
        self._done_with(list(self._queue))
        self._queue.clear()
        await self._stopping.wait()
