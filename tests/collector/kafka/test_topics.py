import pytest
from confluent_kafka.admin import AdminClient

from collector.kafka.client_settings import KafkaConnection
from collector.kafka.topics import TopicRefused, ensure_topic
from tests.e2e.harness import free_port
from tests.kafka.broker import Broker


def partitions(broker: Broker, topic: str) -> int:
    admin = AdminClient({"bootstrap.servers": broker.address})
    return len(admin.list_topics(timeout=5).topics[topic].partitions)


def test_a_topic_is_made_once_with_its_partitions(broker: Broker) -> None:
    assert ensure_topic(broker.connection, "records", 5, 1, client_id="test")
    assert not ensure_topic(broker.connection, "records", 5, 1, client_id="test")
    assert partitions(broker, "records") == 5


def test_a_topic_with_other_partitions_is_refused_and_stays(broker: Broker) -> None:
    broker.create_topic("records", 3)
    with pytest.raises(TopicRefused, match="has 3 partitions, not 5: set DRIFTLOCK_KAFKA_PARTITIONS=3") as refused:
        ensure_topic(broker.connection, "records", 5, 1, client_id="test")
    assert "\n" not in str(refused.value)
    assert partitions(broker, "records") == 3


def test_no_broker_is_one_line() -> None:
    nowhere = KafkaConnection(f"127.0.0.1:{free_port()}")
    with pytest.raises(TopicRefused, match="no broker answers") as refused:
        ensure_topic(nowhere, "records", 5, 1, client_id="test", timeout_s=1.0)
    assert "Connection refused" in str(refused.value)
    assert "\n" not in str(refused.value)
