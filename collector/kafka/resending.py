"""Messages that were set aside, sent again as they were; what was not kept of one is read where it was, if it is there."""

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from collector.kafka.client_settings import KafkaConnection
from collector.kafka.message import BadMessage, decode

DELIVERY_MS = 10_000
READ_S = 10.0
Kept = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]
"""Key, value and headers of a message."""


class Resending:
    """Sends one message after another. Blocking: call it on a thread."""

    def __init__(self, connection: KafkaConnection, client_id: str) -> None:
        """Nothing is connected before the first message."""
        options = {
            **connection.options(client_id),
            "enable.idempotence": True,
            "acks": "all",
            "delivery.timeout.ms": DELIVERY_MS,
        }
        self._producer = Producer(options)
        self._reading = {
            **connection.options(client_id),
            "group.id": client_id,  # no member of it: it is assigned its partition, and commits nothing
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }

    def read(self, topic: str, partition: int, offset: int) -> Kept | None:
        """The message at a place; None where Kafka does not hold it any more, or can not be asked."""
        consumer = Consumer(self._reading)
        try:
            consumer.assign([TopicPartition(topic, partition, offset)])
            message = consumer.poll(READ_S)
            if message is None or message.error() is not None or message.offset() != offset:
                return None
            headers = message.headers() or []
            pairs = headers.items() if isinstance(headers, dict) else headers
            told = ((str(name), value.encode() if isinstance(value, str) else value) for name, value in pairs)
            return message.key(), message.value(), tuple(told)
        except KafkaException:
            return None
        finally:
            consumer.close()

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes | None]]
    ) -> str | None:
        """Why a message was not sent, in a few words; None when the brokers have it."""
        try:
            decode(value, headers)
        except BadMessage as error:
            return f"it can not be read: {error.reason}"
        failed: list[KafkaError | None] = []

        def told(error: KafkaError | None, _message: Message) -> None:
            failed.append(error)

        try:
            self._producer.produce(topic, value, key, partition, on_delivery=told, headers=list(headers))
            self._producer.flush()
        except KafkaException as error:
            return str(error)
        return "no broker has acknowledged it" if not failed else None if failed[0] is None else failed[0].str()
