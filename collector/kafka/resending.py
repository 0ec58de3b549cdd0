"""Messages that were set aside, sent to their partition again as they were."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from collector.kafka.client_settings import KafkaConnection
from collector.kafka.message import BadMessage, decode

DELIVERY_MS = 10_000


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
