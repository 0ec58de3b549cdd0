"""What the Kafka client costs a message, alone and as a worker uses it: CPU of the whole process, with librdkafka's threads."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from bench.kafka.load import PARTITIONS, Lines, fill, messages
from bench.kafka.site import Rows, Site
from collector.kafka.assignment import ConsumerLimits
from collector.kafka.consumer import PartitionConsumer, Read, Taken
from collector.kafka.message import KafkaMessage

BATCH, POLL_S = 1000, 1.0
END_S = 120.0


async def rows(site: Site, count: int) -> Rows:
    """Small messages, of a record each; with headers and without."""
    made = messages(count, Lines(1))
    bare = [(partition, KafkaMessage(it.stream, it.key, it.value, ())) for partition, it in made]
    plain, ours = site.topic(), site.topic()
    fill(site.broker.address, plain, bare)
    fill(site.broker.address, ours, made)
    found: Rows = []
    for name, topic in (("consume(1000), no headers", plain), ("consume(1000), our 13 headers", ours)):
        found.append(_row(name, count, await asyncio.to_thread(_alone, site.broker.address, topic, count)))
    found.append(_row("a worker's consumer: values, headers, limits, hand-over", count, await _as_worker(site, ours, count)))
    return found


def _row(name: str, count: int, used: tuple[float, float]) -> dict[str, object]:
    seconds, cpu_s = used
    return {
        "client": name,
        "messages": count,
        "messages/s": round(count / seconds),
        "CPU us a message": 1e6 * cpu_s / count,
    }


def _alone(address: str, topic: str, count: int) -> tuple[float, float]:
    """Seconds and CPU seconds from the first message on."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    began_s, cpu_s, got, end_s = 0.0, 0.0, 0, time.monotonic() + END_S
    while got < count and time.monotonic() < end_s:
        if not began_s:
            began_s, cpu_s = time.monotonic(), time.process_time()
        read = consumer.consume(BATCH, POLL_S)
        got += sum(message.error() is None for message in read)
    used = time.monotonic() - began_s, time.process_time() - cpu_s
    consumer.close()
    if got < count:
        raise RuntimeError(f"{got} of {count} messages came")
    return used


class _Counter:
    """Opens each partition at its beginning, and is done at once with what comes."""

    def __init__(self, count: int) -> None:
        self.consumer: PartitionConsumer | None = None
        self.done = asyncio.get_running_loop().create_future()
        self.began_s = self.cpu_s = 0.0
        self._left = count

    def assigned(self, generations: Mapping[int, int]) -> None:
        """See `Partitions`."""
        for partition, generation in generations.items():
            if self.consumer is not None:
                self.consumer.open(partition, generation, 0)

    async def revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """See `Partitions`."""

    def read(self, found: Read) -> None:
        """See `Partitions`."""
        if not self.began_s:
            self.began_s, self.cpu_s = time.monotonic(), time.process_time()
        for partition, (generation, read) in found.items():
            self._left -= len(read)
            if self.consumer is not None:
                self.consumer.stored(partition, generation, sum(it.size for it in read if isinstance(it, Taken)))
        if self._left <= 0 and not self.done.done():
            self.done.set_result((time.monotonic() - self.began_s, time.process_time() - self.cpu_s))


async def _as_worker(site: Site, topic: str, count: int) -> tuple[float, float]:
    counter = _Counter(count)
    configuration = {**site.broker.connection.options("bench"), "group.id": "bench", "session.timeout.ms": 6000}
    consumer = PartitionConsumer(configuration, topic, counter, limits=ConsumerLimits(), monotonic_s=time.monotonic)
    counter.consumer = consumer
    consumer.start()
    try:
        async with asyncio.timeout(END_S):
            used: tuple[float, float] = await counter.done
    finally:
        await consumer.stop(10)
    return used
