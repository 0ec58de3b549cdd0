"""The way into our own topic, as gateways and bridges have it: the topic made or checked, the producer, and what it shows."""

import socket

from collector.kafka.client_settings import KafkaConnection
from collector.kafka.producer import KafkaIntake
from collector.kafka.topics import TopicRefused, ensure_topic
from driftlock.storage.startup import StartupRefused
from server.kafka_metrics import ProducerMetrics
from server.settings import Settings
from server.telemetry import Telemetry


def client_id(role: str) -> str:
    """How this process is called by brokers; `role` is its command."""
    return f"driftlock-{role}-{socket.gethostname()}"


def ensure_records(connection: KafkaConnection, settings: Settings, role: str) -> None:
    """Make our topic unless it is there. Blocking. Raises `StartupRefused` when it can not be used."""
    try:
        ensure_topic(
            connection,
            settings.kafka_topic,
            settings.kafka_partitions,
            settings.kafka_replication,
            client_id=client_id(role),
        )
    except TopicRefused as error:
        raise StartupRefused(str(error)) from None


def records_intake(connection: KafkaConnection, settings: Settings, telemetry: Telemetry, role: str) -> KafkaIntake:
    """The producer, with its metrics; not entered yet."""
    intake = KafkaIntake(
        connection,
        topic=settings.kafka_topic,
        partitions=settings.kafka_partitions,
        spread=settings.kafka_tenant_spread,
        client_id=client_id(role),
        watch=ProducerMetrics(telemetry.registry),
    )
    telemetry.gauge("kafka_up", "1 while a Kafka broker is there, as far as is known.", lambda: float(intake.up))
    telemetry.gauge("kafka_queued_messages", "Messages that Kafka has not answered yet.", lambda: intake.queued_messages)
    telemetry.gauge("kafka_queued_bytes", "Bytes of these messages.", lambda: intake.queued_bytes)
    return intake
