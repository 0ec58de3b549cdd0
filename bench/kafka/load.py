"""Logs of several tenants as requests of a thousand records, and as the messages that a gateway makes of them.

The same ones every time: lines of a service of some dozens of kinds, among them a burst of nonsense in each stream, so that
there is something to be found and to be compared.
"""

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from uuid import UUID

from confluent_kafka import Producer

from bench.ingest.requests import line
from collector.kafka.message import KafkaMessage, encode
from collector.kafka.partitions import partition_of
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import StreamBatch, Submission

PARTITIONS = 4
TENANTS_A_PARTITION, STREAMS_A_TENANT = 2, 5
RECORDS = 1000
LINE_BYTES = 145
"""With the severity in front of it a text has 150 bytes."""
TEMPLATES = 64
FIRST_NS = 1_790_000_000_000_000_000
SPACING_NS = 5_000_000
ODD_RECORDS, ODD_EVERY = range(6_400, 6_410), 64_000
"""The first records of a stream that are nonsense, and how many later the next ones come."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant and the partition in which all of its records lie."""

    tenant_id: UUID
    partition: int

    @property
    def name(self) -> str:
        """Of the tenant in the database."""
        return f"bench-{self.tenant_id.int}"

    @property
    def streams(self) -> list[StreamKey]:
        """Its services."""
        return [StreamKey(Signal.LOGS, f"service-{number}") for number in range(STREAMS_A_TENANT)]


def tenants(partitions: int = PARTITIONS) -> list[Tenant]:
    """As many in each partition."""
    found: dict[int, list[Tenant]] = {partition: [] for partition in range(partitions)}
    for number in count(1):
        tenant_id = UUID(int=number)
        of = partition_of(tenant_id, StreamKey(Signal.LOGS, "any"), partitions)
        if len(found[of]) < TENANTS_A_PARTITION:
            found[of].append(Tenant(tenant_id, of))
        if all(len(made) == TENANTS_A_PARTITION for made in found.values()):
            break
    return [made for row in zip(*found.values(), strict=True) for made in row]


class Lines:
    """Texts of requests: made once, as it takes longer to make a line than to judge it."""

    def __init__(self, records: int = RECORDS) -> None:
        """All of them."""
        self._made = [self._texts(number, records) for number in range(TEMPLATES)]

    @staticmethod
    def _texts(number: int, records: int) -> list[bytes]:
        source = random.Random(f"kafka {records} {number}")
        return [f"INFO {line(source, LINE_BYTES):.<{LINE_BYTES}}".encode() for _ in range(records)]

    def batch(self, number: int, stream: int) -> RecordBatch:
        """The request `number` of a stream, whose records are of its own time."""
        texts = list(self._made[(number * 7 + stream) % len(self._made)])
        before = number * len(texts)
        for odd in ODD_RECORDS:
            place = (odd - before) % ODD_EVERY
            if before + place >= odd and place < len(texts):
                source = random.Random(f"odd {before + place} {stream}")
                texts[place] = b"INFO " + bytes(source.choices(b"abcdefghijklmnopqrstuvwxyz ", k=LINE_BYTES))
        start = FIRST_NS + before * SPACING_NS
        times = array("Q", range(start, start + len(texts) * SPACING_NS, SPACING_NS))
        return RecordBatch(b"".join(texts), array("I", map(len, texts)), times, historical=True)


def submissions(
    records: int, lines: Lines, partitions: int = PARTITIONS, only: Callable[[Tenant], bool] = lambda _: True
) -> Iterator[tuple[Tenant, Submission]]:
    """At least so many records: a request of each stream of each tenant, or of some of them, in turn."""
    made, size = 0, len(lines.batch(0, 0))
    everyone = [tenant for tenant in tenants(partitions) if only(tenant)]
    for number in count():
        for stream in range(STREAMS_A_TENANT):
            batch = lines.batch(number, stream)
            for tenant in everyone:
                if made >= records:
                    return
                made += size
                key = tenant.streams[stream]
                request = f"{number} {stream} {tenant.tenant_id.int}".encode().ljust(16, b".")[:16]
                yield tenant, Submission(tenant.tenant_id, Signal.LOGS, FIRST_NS, (StreamBatch(key, batch),), request)


def messages(records: int, lines: Lines, partitions: int = PARTITIONS) -> list[tuple[int, KafkaMessage]]:
    """The same as messages, each with its partition."""
    found = submissions(records, lines, partitions)
    return [(tenant.partition, message) for tenant, it in found for message in encode(it)]


def fill(address: str, topic: str, made: Sequence[tuple[int, KafkaMessage]]) -> None:
    """Put messages into a topic. Raises RuntimeError when the broker does not take them."""
    producer = Producer(
        {
            "bootstrap.servers": address,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 20,
            "queue.buffering.max.messages": 2**22,
            "queue.buffering.max.kbytes": 2**20,
        }
    )
    for partition, message in made:
        producer.produce(topic, message.value, message.key, partition, headers=list(message.headers))
        producer.poll(0)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} messages were not taken")
