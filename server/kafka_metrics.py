"""What becomes of messages to Kafka, as Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter

DELIVERED = "delivered"


class ProducerMetrics:
    """Implements `collector.kafka.producer.ProducerWatch`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._messages = Counter(
            "driftlock_kafka_produced_messages",
            "Messages by what became of them: `delivered`, or the client's name of the error.",
            ["outcome"],
            registry=registry,
        )
        self._replaced = Counter(
            "driftlock_kafka_producers_replaced", "Producers that brokers took nothing more from.", registry=registry
        )
        self._messages.labels(DELIVERED)

    def delivered(self, messages: int) -> None:
        """So many were acknowledged."""
        self._messages.labels(DELIVERED).inc(messages)

    def failed(self, reason: str, messages: int) -> None:
        """So many were not."""
        self._messages.labels(reason).inc(messages)

    def replaced(self) -> None:
        """There is another producer."""
        self._replaced.inc()
