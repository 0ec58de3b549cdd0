"""Where a consumer group goes on in a topic, and which topic of that name it is. Blocking: call it on a thread."""

from dataclasses import dataclass
from uuid import UUID

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from collector.kafka.client_settings import KafkaConnection
from driftlock.errors import Unavailable

TIMEOUT_S = 5.0
RETRY_AFTER_MS = 1000
HALF = 2**64


@dataclass(frozen=True, slots=True)
class Begin:
    """The offset to read next, and the topic's id in hexadecimal digits: another one for a topic that was made anew.

    `topic_id` is "" where brokers give topics no ids (Kafka before 2.8).
    """

    offset: int
    topic_id: str


class GroupOffsets:
    """The offsets of one group in one topic. `latest`: where to begin in a partition without one, at its end or beginning."""

    def __init__(self, connection: KafkaConnection, client_id: str, group: str, topic: str, *, latest: bool) -> None:
        """Nothing is connected yet."""
        self._options = {**connection.options(client_id), "log_level": 0}
        self._group, self._topic, self._latest = group, topic, latest

    def begin(self, partition: int) -> Begin:
        """Where to go on in a partition. Raises `Unavailable` when brokers do not say."""
        try:
            return Begin(self._offset(partition), self.topic_id())
        except (KafkaException, TimeoutError):
            raise Unavailable(
                f"no broker says where to go on in partition {partition} of {self._topic}; retry",
                retry_after_ms=RETRY_AFTER_MS,
            ) from None

    def topic_id(self) -> str:
        """The id of the topic that there is now."""
        admin = AdminClient(self._options)
        described = admin.describe_topics(TopicCollection([self._topic]), request_timeout=TIMEOUT_S)
        found = described[self._topic].result(TIMEOUT_S + 1).topic_id
        most, least = found.get_most_significant_bits() % HALF, found.get_least_significant_bits() % HALF
        return UUID(int=most * HALF + least).hex if most or least else ""

    def _offset(self, partition: int) -> int:
        consumer = Consumer({**self._options, "group.id": self._group, "enable.auto.commit": False})
        try:
            (found,) = consumer.committed([TopicPartition(self._topic, partition)], timeout=TIMEOUT_S)
            if found.error is not None:
                raise KafkaException(found.error)
            if found.offset >= 0:
                return found.offset
            low, high = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=TIMEOUT_S)
            return high if self._latest else low
        finally:
            consumer.close()
