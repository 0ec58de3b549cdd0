"""One producer of the Kafka client, and the thread that hears what became of its messages."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Producer

from collector.kafka.message import KafkaMessage

POLL_S = 0.1
PROBE_S = 0.5
PROBE_TIMEOUT_S = 1.0
log = logging.getLogger(__name__)

SPOILT = frozenset(
    {
        KafkaError._FATAL,  # noqa: SLF001  # the client's own name of a public constant
        KafkaError._FENCED,  # noqa: SLF001
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    }
)
"""Errors after which brokers take nothing more from the same producer."""


@dataclass(slots=True, eq=False)
class Flight:
    """A request's messages on their way; `done` is when the last of them is acknowledged."""

    messages: int
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def landed(self) -> None:
        """One of its messages is acknowledged."""
        self.messages -= 1
        if not self.messages and not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        """One of its messages will not be; the first reason is told."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Sent:
    """A message in the producer's queue."""

    flight: Flight
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What one poll has told: reports by message, whether there is a broker (None = nothing new), why it is spoilt."""

    reports: Sequence[tuple[Sent, KafkaError | None]]
    up: bool | None
    spoilt: str | None


class Link:
    """A running producer. Made and used on the event loop, which `hear` is called on: once a poll, not once a message.

    `probe` may be called from anywhere: no broker has answered in time, so the thread asks for one until there is.
    """

    def __init__(self, options: Mapping[str, object], topic: str, hear: Callable[["Link", Heard], None]) -> None:
        """`options` are librdkafka's. The thread runs from here on, until `close`."""
        self._topic, self._hear = topic, hear
        self._loop = asyncio.get_running_loop()
        self._reports: list[tuple[Sent, KafkaError | None]] = []
        self._up: bool | None = None
        self._spoilt: str | None = None
        self._probing = False
        self._closing = threading.Event()
        self.waiting: set[Sent] = set()
        self.queued_bytes = 0
        self._producer = Producer({**options, "error_cb": self._failed}, logger=log)
        self._thread = threading.Thread(target=self._run, name="kafka producer", daemon=True)
        self._thread.start()

    def send(self, message: KafkaMessage, partition: int, flight: Flight) -> None:
        """Queue a message. Raises BufferError when the client has no room, `KafkaException`."""
        sent = Sent(flight, message.size_bytes)
        self._producer.produce(
            self._topic,
            value=message.value,
            key=message.key,
            partition=partition,
            headers=list(message.headers),
            on_delivery=lambda error, _message: self._reports.append((sent, error)),
        )
        self.waiting.add(sent)
        self.queued_bytes += sent.size_bytes

    def settled(self, sent: Sent) -> bool:
        """A report has come: the message takes no room any more. False when it had been given up."""
        if sent not in self.waiting:
            return False
        self.waiting.remove(sent)
        self.queued_bytes -= sent.size_bytes
        return True

    def abandon(self) -> set[Flight]:
        """Give up what has no report yet; the requests that it belongs to."""
        flights = {sent.flight for sent in self.waiting}
        self.waiting.clear()
        self.queued_bytes = 0
        return flights

    def probe(self) -> None:
        """Ask for a broker until one answers, which `hear` is told."""
        self._probing = True

    def close(self) -> threading.Thread:
        """Drop what is queued and end; returns the thread, for who wants to wait for that."""
        self._closing.set()
        return self._thread

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(POLL_S)
            except KafkaException as error:
                self._failed(error.args[0])
            if self._probing:
                self._ask()
            self._tell()
            if self._probing:
                self._closing.wait(PROBE_S)
        self._producer.purge()
        del self._producer  # ends the client's own threads, which takes its time

    def _failed(self, error: KafkaError) -> None:
        """See `error_cb` of the client; called within `poll`."""
        if error.fatal() or error.code() in SPOILT:
            self._spoilt = error.name()
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._probing = True  # it is said of connections that were idle, too

    def _ask(self) -> None:
        """Look for a broker that knows the topic."""
        try:
            found = self._producer.list_topics(self._topic, timeout=PROBE_TIMEOUT_S).topics.get(self._topic)
        except KafkaException:
            found = None
        if found is None or found.error is not None:
            self._up = False
            return
        self._probing = False
        self._up = True

    def _tell(self) -> None:
        reports, self._reports = self._reports, []
        up, self._up = self._up, None
        spoilt, self._spoilt = self._spoilt, None
        spoilt = spoilt or next((error.name() for _, error in reports if error is not None and error.code() in SPOILT), None)
        if not reports and up is None and spoilt is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._hear, self, Heard(reports, up, spoilt))
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._closing.set()
