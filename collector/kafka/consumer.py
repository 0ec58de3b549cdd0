"""Reads the partitions of a topic as a member of a consumer group: one thread talks to Kafka, the event loop does the rest.

    Kafka ── consume(1000) ──> thread ── per-partition lists, one call ──> event loop (`Partitions`)
             seek, pause  <──         <── open, stored, hold, close ──

Where a partition goes on is told by `open`, never by Kafka: a partition that is assigned is paused until then. Offsets are told
to Kafka now and then for tools that show lag; nothing here reads them.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from collector.kafka.assignment import Assignment, ConsumerLimits, Hold

log = logging.getLogger(__name__)
REFUSED_OFFSETS = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001  # so librdkafka spells it
WATERMARKS_S = 5.0
PROBE_S = 0.5
MESSAGE_BYTES, HEADER_BYTES = 300, 130
"""What a message, and each of its headers, takes in memory beside what it holds: small messages are mostly this."""
LOOKS_A_PROBE = 10
"""Brokers are asked for the end of a partition that is held so many looks apart: what is not fetched tells nothing."""


class Taken(NamedTuple):
    """A message as it was read. `size` is what it counts against the limits, `time_ms` its time as Kafka has it (-1 = none)."""

    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    size: int
    time_ms: int = -1


class Missing(NamedTuple):
    """Offsets that Kafka does not have: what is read next is at `to_offset`, which may be before `from_offset`."""

    from_offset: int
    to_offset: int
    reason: str


Read = Mapping[int, tuple[int, Sequence[Taken | Missing]]]
"""What was read: a generation and a list in order, by partition."""


class Partitions(Protocol):
    """Who works on what is read. All methods are called on the event loop."""

    def assigned(self, generations: Mapping[int, int]) -> None:
        """These partitions are ours, each with its generation; each is to be opened."""
        ...

    async def revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """Return when the work on these partitions has stopped. `lost`: they may be another's already."""
        ...

    def read(self, found: Read) -> None:
        """Messages of partitions that were opened."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What the thread sees: the ends of partitions, why each is held, and whether a broker answers."""

    high: Mapping[int, int]
    next_offsets: Mapping[int, int]
    holds: Mapping[int, frozenset[Hold]]
    in_flight_bytes: int
    rebalances: int
    joined: bool
    away: bool


NOTHING_SEEN = Seen({}, {}, {}, 0, 0, joined=False, away=False)


class PartitionConsumer:
    """A member of the group. `start` it on the event loop; `failed` raises what ended its thread; `stop` leaves the group.

    `configuration` is librdkafka's, with the group; `monotonic_s` a clock. `open`, `stored`, `hold`, `close` and `commit` may
    be called on the event loop and hold from the thread's next turn on.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        topic: str,
        partitions: Partitions,
        *,
        limits: ConsumerLimits,
        monotonic_s: Callable[[], float],
        connect: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        """Nothing is connected before `start`."""
        self._configuration = {
            **configuration,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": limits.in_flight_bytes_max // 1024,
            "error_cb": self._told,
        }
        self._topic, self._partitions, self._limits = topic, partitions, limits
        self._monotonic_s, self._connect = monotonic_s, connect
        self._assignment = Assignment(limits)
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._seeks: dict[int, tuple[int, int]] = {}
        self._commits: dict[int, int] = {}
        self._watermarks: dict[int, int] = {}
        self._rebalances, self._joined, self._away = 0, False, False
        self._looked_s = self._committed_s = 0.0
        self._looks = 0
        self._stopping = threading.Event()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.seen = NOTHING_SEEN

    def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self._ended.set_running_or_notify_cancel()  # whoever waits for the end and stops waiting does not bring it about
        self._thread = threading.Thread(target=self._run, name="kafka consumer", daemon=True)
        self._thread.start()

    async def failed(self) -> None:
        """Return when the thread has ended; raises what ended it."""
        await asyncio.wrap_future(self._ended)

    async def stop(self, timeout_s: float) -> None:
        """Give the partitions back and leave the group, within `timeout_s`. Harmless when repeated."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.wait({asyncio.wrap_future(self._ended)}, timeout=timeout_s)

    def open(self, partition: int, generation: int, offset: int) -> None:
        """Read a partition from `offset` on; what was read before is forgotten."""

        def work() -> None:
            self._seeks[partition] = generation, offset

        self._commands.put(work)

    def close(self, partition: int, generation: int) -> None:
        """Read nothing more from a partition until it is opened again."""
        self._commands.put(lambda: self._assignment.close(partition, generation))

    def stored(self, partition: int, generation: int, size: int) -> None:
        """So many bytes of messages are done with."""
        self._commands.put(lambda: self._assignment.stored(partition, generation, size))

    def hold(self, partition: int, generation: int, why: Hold, *, on: bool) -> None:
        """Hold a partition for a reason, or do so no more."""
        self._commands.put(lambda: self._assignment.hold(partition, generation, why, on=on))

    def commit(self, partition: int, generation: int, offset: int) -> None:
        """Tell Kafka, sooner or later, that a partition is done up to `offset`."""

        def work() -> None:
            if self._assignment.generation(partition) == generation:
                self._commits[partition] = offset

        self._commands.put(work)

    def _run(self) -> None:
        try:
            client = self._connect(dict(self._configuration))
            try:
                client.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
                while not self._stopping.is_set():
                    self._turn(client)
            finally:
                client.close()  # calls `_revoked`
        except BaseException as error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _turn(self, client: Consumer) -> None:
        """Do what the event loop has asked for, then read once."""
        self._obey()
        self._seek(client)
        pause, resume = self._assignment.turns()
        self._set(client.pause, pause)
        self._set(client.resume, resume)
        found: dict[int, tuple[int, list[Taken | Missing]]] = {}
        lists: defaultdict[int, list[Taken | Missing]] = defaultdict(list)
        for message in client.consume(self._limits.messages_max, self._limits.poll_s):
            error = message.error()
            if error is not None:
                self._refused(client, message, error, lists)
                continue
            self._away = False
            partition, offset, value = message.partition(), message.offset(), message.value() or b""
            headers = _headers(message)
            size = MESSAGE_BYTES + len(value) + sum(HEADER_BYTES + len(name) + len(content) for name, content in headers)
            if partition is not None and offset is not None and self._assignment.take(partition, offset, size):
                time_ms = message.timestamp()[1]
                lists[partition].append(Taken(offset, message.key(), value, headers, size, time_ms))
        for partition, taken in lists.items():
            generation = self._assignment.generation(partition)
            if generation is not None:
                found[partition] = generation, taken
        if found:
            self._call(lambda: self._partitions.read(found))
        self._look(client)

    def _obey(self) -> None:
        """Do what the event loop has asked for."""
        while not self._commands.empty():
            self._commands.get()()

    def _seek(self, client: Consumer) -> None:
        """Go to where partitions are opened. One that Kafka is not ready to move yet is tried again with the next turn."""
        for partition, (generation, offset) in list(self._seeks.items()):
            if self._assignment.is_of(partition, generation):
                try:
                    client.seek(TopicPartition(self._topic, partition, offset))
                except KafkaException as error:
                    log.warning("partition %d can not be opened yet: %s", partition, error)
                    continue
                self._assignment.open(partition, generation, offset)
            del self._seeks[partition]

    def _set(self, turn: Callable[[list[TopicPartition]], None], partitions: Sequence[int]) -> None:
        if partitions:
            turn([TopicPartition(self._topic, partition) for partition in partitions])

    def _refused(self, client: Consumer, message: Message, error: KafkaError, lists: dict[int, list[Taken | Missing]]) -> None:
        """What was read is an error: offsets that are not there, or something that librdkafka tries again."""
        if error.fatal():
            raise KafkaException(error)
        partition = message.partition()
        if error.code() not in REFUSED_OFFSETS or partition is None:
            log.warning("Kafka: %s", error)
            return
        if self._assignment.generation(partition) is None:
            return
        expected = self._assignment.next_offset(partition)
        low, high = _ends(client, TopicPartition(self._topic, partition), expected)
        if low <= expected <= high:  # it is there again, or was all the time
            client.seek(TopicPartition(self._topic, partition, expected))
            return
        why = f"the earliest offset is {low}: retention was shorter" if expected < low else f"the topic ends at {high}"
        log.error("partition %d has no offset %d any more; going on from %d: %s", partition, expected, low, why)
        lists.setdefault(partition, []).append(Missing(expected, low, why))
        self._assignment.skip(partition, low)
        client.seek(TopicPartition(self._topic, partition, low))

    def _look(self, client: Consumer) -> None:
        """Now and then: tell Kafka where we are, and the event loop how far that is from the end."""
        now_s = self._monotonic_s()
        if now_s - self._committed_s >= self._limits.commit_s:
            self._committed_s = now_s
            self._commit(client)
        if now_s - self._looked_s >= self._limits.look_s:
            self._looked_s = now_s
            self._looks += 1
            for partition, holds in self._assignment.holds().items():
                place = TopicPartition(self._topic, partition)
                self._ends_at(partition, client.get_watermark_offsets(place, cached=True))
                if holds and Hold.OPENING not in holds and self._looks % LOOKS_A_PROBE == partition % LOOKS_A_PROBE:
                    with contextlib.suppress(KafkaException):
                        self._ends_at(partition, client.get_watermark_offsets(place, timeout=PROBE_S))
            if self._away:
                with contextlib.suppress(KafkaException):
                    client.list_topics(self._topic, timeout=PROBE_S)
                    self._away = False
            self._tell_seen()

    def _ends_at(self, partition: int, ends: tuple[int, int] | None) -> None:
        if ends is not None:
            self._watermarks[partition] = max(ends[1], self._watermarks.get(partition, 0))

    def _tell_seen(self) -> None:
        holds = self._assignment.holds()
        seen = Seen(
            {partition: high for partition, high in self._watermarks.items() if partition in holds},
            {partition: self._assignment.next_offset(partition) for partition in holds},
            holds,
            self._assignment.in_flight_bytes,
            self._rebalances,
            self._joined,
            self._away,
        )

        def show() -> None:
            self.seen = seen

        self._call(show)

    def _commit(self, client: Consumer) -> None:
        """Without waiting for the answer, which nobody relies on."""
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in self._commits.items()]
        self._commits.clear()
        if offsets:
            with contextlib.suppress(KafkaException):
                client.commit(offsets=offsets, asynchronous=True)

    def _assigned(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        self._rebalances += 1
        self._joined, self._away = True, False
        client.incremental_assign([TopicPartition(self._topic, place.partition, 0) for place in partitions])
        self._set(client.pause, [place.partition for place in partitions])
        generations = {place.partition: self._assignment.add(place.partition) for place in partitions}
        if generations:
            self._call(lambda: self._partitions.assigned(generations))
        self._tell_seen()

    def _revoked(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(client, partitions, lost=False)

    def _lost(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(client, partitions, lost=True)

    def _give_up(self, client: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        """Answer within `revoke_s`, whether the work on the partitions has stopped or not: the next owner fences it."""
        self._rebalances += 1
        numbers = [place.partition for place in partitions]
        if numbers and self._loop is not None and not self._loop.is_closed():
            stopping = asyncio.run_coroutine_threadsafe(self._partitions.revoked(numbers, lost=lost), self._loop)
            with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
                stopping.result(0 if lost else self._limits.revoke_s)
        self._obey()  # what was stored until now
        if not lost:
            self._commit(client)
        for number in numbers:
            self._commits.pop(number, None)
            self._watermarks.pop(number, None)
            self._assignment.remove(number)
        client.incremental_unassign(partitions)
        self._tell_seen()

    def _told(self, error: KafkaError) -> None:
        """What librdkafka says of its connections, on this thread."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._away = True
        log.warning("Kafka: %s", error)

    def _call(self, what: Callable[[], None]) -> None:
        """On the event loop; nothing when that has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(what)


def _ends(client: Consumer, place: TopicPartition, expected: int) -> tuple[int, int]:
    """The first offset of a partition and the one after its last; `expected` for both when the broker does not say."""
    try:
        ends = client.get_watermark_offsets(place, timeout=WATERMARKS_S)
    except KafkaException as error:
        log.warning("Kafka does not say where partition %d begins: %s", place.partition, error)
        ends = None
    return (expected, expected) if ends is None else (ends[0], ends[1])


def _headers(message: Message) -> tuple[tuple[str, bytes], ...]:
    """None at all where a name is not UTF-8, which the client can not tell: such a message is none of ours."""
    try:
        headers = message.headers() or []
    except (SystemError, UnicodeDecodeError):
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((str(name), content.encode() if isinstance(content, str) else content or b"") for name, content in pairs)
