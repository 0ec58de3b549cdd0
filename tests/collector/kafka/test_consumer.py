"""A member of a consumer group, on a real broker; what a broker of tests can not do is said by a stand-in."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from collector.kafka.assignment import ConsumerLimits, Hold
from collector.kafka.consumer import HEADER_BYTES, MESSAGE_BYTES, Missing, PartitionConsumer, Read, Taken, _headers
from tests.kafka.broker import Broker
from tests.kafka.broker import broker as broker

TOPIC = "records"


class Handler:
    """Opens each partition where `begin` says, and keeps what is read."""

    def __init__(self, begin: Callable[[int], int | None]) -> None:
        self.begin = begin
        self.consumer: PartitionConsumer | None = None
        self.generations: dict[int, int] = {}
        self.found: dict[int, list[Taken | Missing]] = {}
        self.gone: list[tuple[list[int], bool]] = []
        self.changed = asyncio.Event()

    def assigned(self, generations: Mapping[int, int]) -> None:
        assert self.consumer is not None
        self.generations.update(generations)
        for partition, generation in generations.items():
            offset = self.begin(partition)
            if offset is not None:
                self.consumer.open(partition, generation, offset)
        self.changed.set()

    async def revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        self.gone.append((sorted(partitions), lost))
        self.changed.set()

    def read(self, found: Read) -> None:
        for partition, (generation, read) in found.items():
            assert self.generations[partition] == generation
            self.found.setdefault(partition, []).extend(read)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def offsets(self, partition: int) -> list[int]:
        return [it.offset for it in self.found.get(partition, []) if isinstance(it, Taken)]


async def eventually(condition: Callable[[], bool]) -> None:
    """What the consumer's thread does is told to nobody."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def consuming(
    broker: Broker, begin: Callable[[int], int | None], limits: ConsumerLimits | None = None
) -> AsyncIterator[Handler]:
    handler = Handler(begin)
    configuration = {
        "bootstrap.servers": broker.address,
        "group.id": "workers",
        "session.timeout.ms": 2000,
        "heartbeat.interval.ms": 300,
    }
    consumer = PartitionConsumer(configuration, TOPIC, handler, limits=limits or ConsumerLimits(), monotonic_s=monotonic)
    handler.consumer = consumer
    consumer.start()
    try:
        yield handler
    finally:
        await consumer.stop(10)
        await consumer.failed()


FIRST_MS = 1_700_000_000_000


def produce(broker: Broker, partitions: int, count: int, size: int = 10) -> None:
    broker.create_topic(TOPIC, partitions)
    producer = Producer({"bootstrap.servers": broker.address})
    for number in range(count):
        for partition in range(partitions):
            producer.produce(TOPIC, b"%d" % number * size, b"key", partition, headers=[("a", b"1"), ("empty", None)])
    assert producer.flush(10) == 0


async def test_each_partition_is_read_from_where_it_is_opened(broker: Broker) -> None:
    produce(broker, 3, 30)
    async with consuming(broker, lambda partition: 10 * partition) as handler:
        await handler.until(lambda: sum(len(handler.offsets(partition)) for partition in range(3)) == 60)
        assert [handler.offsets(partition) for partition in range(3)] == [list(range(10 * it, 30)) for it in range(3)]
    assert handler.gone == [([0, 1, 2], False)]


async def test_a_message_comes_with_its_key_and_headers(broker: Broker) -> None:
    produce(broker, 1, 1, 1)
    async with consuming(broker, lambda _partition: 0) as handler:
        await handler.until(lambda: bool(handler.found))
    size = len(b"0a1empty") + MESSAGE_BYTES + 2 * HEADER_BYTES
    [found] = handler.found[0]
    assert found == Taken(0, b"key", b"0", (("a", b"1"), ("empty", b"")), size, found.time_ms)
    assert found.time_ms > FIRST_MS


async def test_small_messages_count_as_what_they_take_in_memory(broker: Broker) -> None:
    broker.create_topic(TOPIC, 1)
    producer = Producer({"bootstrap.servers": broker.address})
    for _ in range(3000):
        producer.produce(TOPIC, b"", partition=0)
    assert producer.flush(10) == 0
    limits = ConsumerLimits(messages_max=100, partition_bytes_max=1000 * MESSAGE_BYTES)
    async with consuming(broker, lambda _partition: 0, limits) as handler:
        await eventually(
            lambda: handler.consumer is not None and Hold.PARTITION_BYTES in handler.consumer.seen.holds.get(0, ())
        )
        assert len(handler.offsets(0)) < 1200


class Unreadable:
    """A header's name that is not UTF-8, as the client tells of it: by an error of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def headers(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [SystemError("returned a result with an exception set"), UnicodeDecodeError("utf-8", b"", 0, 0, "")]
)
def test_headers_whose_names_are_not_text_are_none(error: Exception) -> None:
    assert _headers(Unreadable(error)) == ()  # type: ignore[arg-type]


async def test_nothing_is_read_before_a_partition_is_opened(broker: Broker) -> None:
    produce(broker, 2, 5)
    async with consuming(broker, lambda partition: 0 if partition else None) as handler:
        await handler.until(lambda: len(handler.offsets(1)) == 5)
        assert handler.consumer is not None
        assert 0 not in handler.found
        handler.consumer.open(0, handler.generations[0], 2)
        await handler.until(lambda: handler.offsets(0) == [2, 3, 4])


async def test_no_more_is_read_than_the_limit_until_it_is_stored(broker: Broker) -> None:
    produce(broker, 1, 20, 500)  # 0.5 to 1 KB each
    limits = ConsumerLimits(messages_max=1, partition_bytes_max=4000, look_s=0.0)
    async with consuming(broker, lambda _partition: 0, limits) as handler:
        consumer = handler.consumer
        assert consumer is not None
        await eventually(lambda: consumer.seen.holds.get(0) == {Hold.PARTITION_BYTES})
        read = [it for it in handler.found[0] if isinstance(it, Taken)]
        assert sum(it.size for it in read[:-1]) < limits.partition_bytes_max
        stored = 0
        while len(handler.offsets(0)) < 20:
            read = [it for it in handler.found[0] if isinstance(it, Taken)][stored:]
            stored += len(read)
            consumer.stored(0, handler.generations[0], sum(it.size for it in read))
            known = len(handler.offsets(0))
            await handler.until(lambda known=known: len(handler.offsets(0)) > known)  # type: ignore[misc]
        assert handler.offsets(0) == list(range(20))


async def test_a_partition_moves_to_a_member_that_joins_and_goes_on_where_it_is_opened_there(broker: Broker) -> None:
    produce(broker, 2, 5)
    async with consuming(broker, lambda _partition: 0) as first:
        await first.until(lambda: sum(map(len, first.found.values())) == 10)
        async with consuming(broker, lambda _partition: 3) as second:
            await second.until(lambda: len(second.generations) == 1)
            (moved,) = second.generations
            await second.until(lambda: second.offsets(moved) == [3, 4])
        assert ([moved], False) in first.gone


class StandIn:
    """A client that says what a broker says of offsets that it does not have."""

    def __init__(self, ends: tuple[int, int] | None) -> None:
        self.ends = ends
        self.sought: list[int] = []
        self.calls = 0

    def __call__(self, _configuration: dict[str, Any]) -> "StandIn":
        return self

    def subscribe(self, _topics: list[str], on_assign: Callable[..., None], **_others: Any) -> None:
        self.on_assign = on_assign

    def consume(self, _messages: int, _timeout_s: float) -> list["Refusal"]:
        self.calls += 1
        if self.calls == 1:
            self.on_assign(self, [TopicPartition(TOPIC, 0)])
        return [Refusal()] if self.sought == [40] else []

    def get_watermark_offsets(self, _place: TopicPartition, **options: Any) -> tuple[int, int] | None:
        return None if options.get("cached") else self.ends

    def seek(self, place: TopicPartition) -> None:
        self.sought.append(place.offset)

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_arguments, **_options: None


class Refusal:
    def error(self) -> KafkaError:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return -1001


@pytest.mark.parametrize(
    ("ends", "missing"),
    [
        ((70, 90), Missing(40, 70, "the earliest offset is 70: retention was shorter")),
        ((0, 10), Missing(40, 0, "the topic ends at 10")),
    ],
)
async def test_offsets_that_are_gone_are_told_and_reading_goes_on_from_the_earliest(
    ends: tuple[int, int], missing: Missing
) -> None:
    client, handler = StandIn(ends), Handler(lambda _partition: 40)
    consumer = handler.consumer = PartitionConsumer(
        {},
        TOPIC,
        handler,
        limits=ConsumerLimits(poll_s=0),
        monotonic_s=monotonic,
        connect=client,  # type: ignore[arg-type]
    )
    consumer.start()
    await handler.until(lambda: bool(handler.found))
    await consumer.stop(5)
    assert handler.found == {0: [missing]}
    assert client.sought == [40, ends[0]]


@pytest.mark.parametrize("ends", [(0, 90), None])
async def test_offsets_that_are_there_after_all_are_read_without_a_gap(ends: tuple[int, int] | None) -> None:
    client, handler = StandIn(ends), Handler(lambda _partition: 40)
    consumer = handler.consumer = PartitionConsumer(
        {},
        TOPIC,
        handler,
        limits=ConsumerLimits(poll_s=0),
        monotonic_s=monotonic,
        connect=client,  # type: ignore[arg-type]
    )
    consumer.start()
    await eventually(lambda: len(client.sought) >= 2)
    await consumer.stop(5)
    assert client.sought[:2] == [40, 40]
    assert handler.found == {}


async def test_an_error_that_can_not_be_lived_with_ends_the_thread() -> None:
    def connect(_configuration: dict[str, Any]) -> Any:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    consumer = PartitionConsumer(
        {}, TOPIC, Handler(lambda _partition: 0), limits=ConsumerLimits(), monotonic_s=monotonic, connect=connect
    )
    consumer.start()
    with pytest.raises(KafkaException):
        await consumer.failed()
