"""The topic: made with the partitions that it is to have, and never with others. Blocking; call it on a thread."""

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from collector.kafka.client_settings import KafkaConnection

TIMEOUT_S = 10.0
MAY_NOT = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})

SILENCE = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001  # the client's own name of a public constant
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
    }
)


class TopicRefused(Exception):
    """The topic can not be used; the text is one line that says what to do."""


class NoBroker(TopicRefused):
    """Nobody was there to ask: another time it may be."""


def ensure_topic(
    connection: KafkaConnection,
    topic: str,
    partitions: int,
    replication: int,
    *,
    client_id: str,
    timeout_s: float = TIMEOUT_S,
) -> bool:
    """Make the topic unless it is there; whether it was made. Whoever may not make topics finds one, or is refused.

    Raises `NoBroker` where none answers within about `timeout_s`, `TopicRefused` where the topic has another number of
    partitions (which would move streams away from their pasts), and where it can neither be made nor found.
    """
    complaints: list[str] = []
    options: dict[str, Any] = {"log_level": 0, "error_cb": lambda error: complaints.append(error.str())}
    admin = AdminClient({**connection.options(client_id), **options})
    try:
        admin.create_topics([NewTopic(topic, partitions, replication)], request_timeout=timeout_s)[topic].result(timeout_s + 1)
        return True
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0] if error.args and isinstance(error.args[0], KafkaError) else None
    if reason is None or reason.code() not in {KafkaError.TOPIC_ALREADY_EXISTS, *MAY_NOT}:
        admin.poll(0)
        told = _told(reason, complaints)
        refused = NoBroker if reason is None or reason.code() in SILENCE else TopicRefused
        raise refused(f"the topic {topic} can not be made at {connection.bootstrap_servers}: {told}")
    found = _count(admin, topic, timeout_s)
    if found is None:
        raise TopicRefused(
            f"there is no topic {topic}, and we may not make it: make it with {partitions} partitions, or allow us to"
        )
    if found != partitions:
        raise TopicRefused(
            f"the topic {topic} has {found} partitions, not {partitions}: set DRIFTLOCK_KAFKA_PARTITIONS={found}, or use "
            "another topic; partitions can not be changed without moving streams away from their pasts"
        )
    return False


def _count(admin: AdminClient, topic: str, timeout_s: float) -> int | None:
    """How many partitions the topic has; None where there is none. All topics are listed: to ask for one could make it."""
    try:
        found = admin.list_topics(timeout=timeout_s).topics.get(topic)
    except KafkaException as error:
        refused = NoBroker if error.args[0].code() in SILENCE else TopicRefused
        raise refused(f"the partitions of {topic} can not be read: {_told(error.args[0], [])}") from None
    return None if found is None or found.error is not None else len(found.partitions)


def _told(reason: KafkaError | None, complaints: Sequence[str]) -> str:
    """The reason; where it is only that nobody answers, what the client said last of the way there."""
    if reason is None or reason.code() in SILENCE:
        said = [complaint for complaint in complaints if "brokers are down" not in complaint]
        return f"no broker answers ({said[-1]})" if said else "no broker answers"
    return reason.str()
