"""The way into Kafka: a request is acknowledged once all of its messages are, by all replicas that keep up.

    submit ──> messages ──> queue of the client ──(idempotent, acks=all)──> partition of the stream ──> receipt

What is refused may have arrived all the same: the sender sends it again, and whoever reads the topic recognises it.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from confluent_kafka import KafkaError, KafkaException

from collector.kafka.client_settings import KafkaConnection
from collector.kafka.link import Flight, Heard, Link
from collector.kafka.message import KafkaMessage, encode
from collector.kafka.partitions import partition_of
from driftlock.accounts.metering import Refusal
from driftlock.engine import records
from driftlock.engine.ports import Receipt, Submission
from driftlock.errors import DriftlockError, InvalidArgument, Unavailable

log = logging.getLogger(__name__)
KIB, MIB = 1024, 1024 * 1024
CLIENT_ROOM = 2
"""How many times our limits the client's own queue may hold: it is never the first one to be full."""
CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class ProducerLimits:
    """Bounds of what waits for brokers.

    A message that is not acknowledged within `delivery_timeout_ms` is given up: exporters wait for 10 seconds. It may wait
    `linger_ms` for others of its partition. `queue_messages_max` and `queue_bytes_max` bound what has no answer yet; a message
    has at most `message_bytes_max`. `encode_inline_bytes_max` bytes of records are encoded on the event loop, more on a thread.
    On leaving, `drain_timeout_ms` is for what is under way. `retry_after_ms` is the hint to who is refused.
    """

    delivery_timeout_ms: int = 5000
    linger_ms: int = 5
    queue_messages_max: int = 20_000
    queue_bytes_max: int = 64 * MIB
    message_bytes_max: int = 1_000_000
    encode_inline_bytes_max: int = 64 * KIB
    drain_timeout_ms: int = 2000
    retry_after_ms: int = 1000


class ProducerWatch(Protocol):
    """Whoever counts what becomes of messages."""

    def delivered(self, messages: int) -> None:
        """So many were acknowledged."""
        ...

    def failed(self, reason: str, messages: int) -> None:
        """So many were not; `reason` is the client's name of the error."""
        ...

    def replaced(self) -> None:
        """The producer could not be used any more, and there is another one."""
        ...


class KafkaIntake:
    """Implements `driftlock.engine.ports.Intake` over a topic that exists with `partitions` partitions.

    An async context manager: leaving it waits for what is under way. Event loop only.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        topic: str,
        partitions: int,
        spread: int,
        client_id: str,
        watch: ProducerWatch,
        limits: ProducerLimits | None = None,
    ) -> None:
        """Nothing runs before it is entered. `client_id` names this process to brokers."""
        self._limits = limits or ProducerLimits()
        self._topic, self._partitions, self._spread = topic, partitions, spread
        self._options = {**connection.options(client_id), **_options(self._limits)}
        self._watch = watch
        self._compressor = records.body_compressor()
        self._link: Link | None = None
        self._flights: set[Flight] = set()
        self._old: set[asyncio.Task[None]] = set()
        self._open = False
        self._up = True
        self._late = False  # has a message been given up, which leaves open what brokers know of this producer?

    async def __aenter__(self) -> Self:
        """Begin to take requests."""
        self._link = Link(self._options, self._topic, self._heard)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way, within `drain_timeout_ms`; the rest is answered `Unavailable`. Safe to call twice."""
        self._open = False
        waiting = [flight.done for flight in self._flights]
        if waiting:
            await asyncio.wait(waiting, timeout=self._limits.drain_timeout_ms / 1000)
        self._fail(self._flights, _stopping())
        if self._link is not None:
            link, self._link = self._link, None
            self._retire(link)
        if self._old:
            await asyncio.wait(self._old)

    @property
    def up(self) -> bool:
        """Whether a broker is there, as far as is known."""
        return self._up

    @property
    def queued_messages(self) -> int:
        """Messages without an answer."""
        return 0 if self._link is None else len(self._link.waiting)

    @property
    def queued_bytes(self) -> int:
        """Their bytes."""
        return 0 if self._link is None else self._link.queued_bytes

    async def ping(self) -> None:
        """Raise `Unavailable` while nothing is taken."""
        self._admit(0, 0)

    async def submit(self, submission: Submission) -> Receipt:
        """Return when the brokers have all of it. Cancelling the caller does not take anything back.

        The receipt names no position and no streams: both are made by who reads the topic. Raises `Unavailable` (queue full, no
        broker, no answer in time, stopping), after which some or all of it may be there; `InvalidArgument` (a stream's name
        that can not be stored, a record or a message that is too large).
        """
        if not any(len(part.batch) for part in submission.batches):
            return Receipt(seq=0, records=0)
        await asyncio.shield(await self.queue(submission))
        return Receipt(seq=0, records=submission.records)

    async def queue(self, submission: Submission) -> "asyncio.Future[None]":
        """Hand the messages of some records over to the client: to partitions they go in the order in which calls return.

        The future is done when the brokers have all of them, or has the error. Raises as `submit` does.
        """
        size = sum(part.batch.size_bytes for part in submission.batches)
        self._admit(0, 0)
        if size > self._limits.encode_inline_bytes_max:
            messages = await asyncio.to_thread(encode, submission)
        else:
            messages = encode(submission, self._compressor)
        self._check_sizes(messages)
        self._admit(len(messages), sum(message.size_bytes for message in messages))
        flight = Flight(len(messages))
        self._flights.add(flight)
        flight.done.add_done_callback(lambda done: self._landed(flight, done))
        self._send(submission, messages, flight)
        return flight.done

    def _admit(self, messages: int, size_bytes: int) -> None:
        """Refuse before work is done for nothing."""
        if not self._open or self._link is None:
            raise _stopping()
        if not self._up:
            raise self._unavailable("no Kafka broker is there; retry")
        queued, limits = self.queued_messages, self._limits
        full = queued + messages > limits.queue_messages_max or self.queued_bytes + size_bytes > limits.queue_bytes_max
        if queued and full:  # whatever a request may hold has room when nothing else is there
            raise self._unavailable("too much waits for Kafka; retry", Refusal.OVERLOADED)

    def _check_sizes(self, messages: Iterable[KafkaMessage]) -> None:
        for message in messages:
            if message.size_bytes > self._limits.message_bytes_max:
                raise _too_large(f"{self._limits.message_bytes_max} bytes (message_bytes_max)")

    def _send(self, submission: Submission, messages: Sequence[KafkaMessage], flight: Flight) -> None:
        link = self._link
        assert link is not None  # noqa: S101  # admitted
        try:
            for message in messages:
                partition = partition_of(submission.tenant_id, message.stream, self._partitions, self._spread)
                link.send(message, partition, flight)
        except BufferError:
            flight.failed(self._unavailable("too much waits for Kafka; retry", Refusal.OVERLOADED))
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            flight.failed(self._translated(reason))
            if reason.fatal():
                self._replace(link, reason.name())

    def _heard(self, link: Link, heard: Heard) -> None:
        """The link's thread has news."""
        delivered = 0
        for sent, error in heard.reports:
            if not link.settled(sent):
                continue
            if error is None:
                delivered += 1
                sent.flight.landed()
                continue
            self._watch.failed(error.name(), 1)
            sent.flight.failed(self._translated(error))
            if error.code() == KafkaError._MSG_TIMED_OUT and link is self._link:  # noqa: SLF001
                self._late = True
                self._away(link)
        if delivered:
            self._watch.delivered(delivered)
        if link is not self._link:
            return
        if heard.up is not None:
            if heard.up:
                self._back(link)
            else:
                self._away(link)
        if heard.spoilt is not None:
            self._replace(link, heard.spoilt)

    def _away(self, link: Link) -> None:
        if self._up:
            self._up = False
            log.warning("Kafka is away: records are refused, retryably, until a broker answers")
        link.probe()

    def _back(self, link: Link) -> None:
        if not self._up:
            self._up = True
            log.warning("Kafka answers again")
        if self._late:
            self._replace(link, "messages were given up")

    def _replace(self, link: Link, why: str) -> None:
        """Make a new producer: brokers take nothing more from this one. What waits is refused, and sent again."""
        if link is not self._link:
            return
        log.warning("the Kafka producer is replaced: %s", why)
        self._watch.replaced()
        waiting = len(link.waiting)
        if waiting:
            self._watch.failed(why, waiting)
        self._fail(link.abandon(), self._unavailable("Kafka did not take the records; retry"))
        self._retire(link)
        self._link = Link(self._options, self._topic, self._heard)
        self._late = False
        if not self._up:
            self._link.probe()

    def _retire(self, link: Link) -> None:
        """Let its thread end, without waiting for it."""
        ending = asyncio.create_task(asyncio.to_thread(link.close().join, CLOSE_S))
        self._old.add(ending)
        ending.add_done_callback(self._old.discard)

    def _fail(self, flights: Iterable[Flight], error: DriftlockError) -> None:
        for flight in list(flights):
            flight.failed(error)

    def _landed(self, flight: Flight, done: "asyncio.Future[None]") -> None:
        self._flights.discard(flight)
        done.exception()  # whoever still listens has it; asyncio need not complain for those who do not

    def _translated(self, error: KafkaError) -> DriftlockError:
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            return _too_large("what the topic takes (max.message.bytes)")
        return self._unavailable("Kafka did not take the records; retry")

    def _unavailable(self, message: str, reason: Refusal | None = None) -> Unavailable:
        return Unavailable(message, retry_after_ms=self._limits.retry_after_ms, reason=reason)


def _options(limits: ProducerLimits) -> dict[str, object]:
    """What librdkafka is told beside how to connect. Bodies are compressed already."""
    return {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "none",
        "linger.ms": limits.linger_ms,
        "delivery.timeout.ms": limits.delivery_timeout_ms,
        "message.max.bytes": limits.message_bytes_max,
        "queue.buffering.max.messages": CLIENT_ROOM * limits.queue_messages_max,
        "queue.buffering.max.kbytes": CLIENT_ROOM * limits.queue_bytes_max // KIB,
    }


def _stopping() -> Unavailable:
    return Unavailable("the gateway is stopping; send again", reason=Refusal.DRAINING)


def _too_large(limit: str) -> InvalidArgument:
    return InvalidArgument(
        f"a message of these records would be larger than {limit}; send smaller records", reason=Refusal.TOO_LARGE
    )
