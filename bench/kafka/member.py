"""A member of a group that does nothing: it says when it is given partitions, and when they are taken from it.

What a move of partitions costs without a worker.
"""

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition

from server.worker import HEARTBEATS_A_SESSION


def main(argument: str) -> None:
    """Join, with a worker's settings, and tell every change: when, and how many partitions came (or, negative, went)."""
    address, topic, session_s = json.loads(argument)
    session_ms = 1000 * int(session_s)
    settings: dict[str, object] = {
        "bootstrap.servers": address,
        "group.id": f"members-{topic}",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // HEARTBEATS_A_SESSION,
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
    }

    def assigned(client: Consumer, partitions: list[TopicPartition]) -> None:
        client.incremental_assign(partitions)
        tell(len(partitions))

    def revoked(client: Consumer, partitions: list[TopicPartition]) -> None:
        client.incremental_unassign(partitions)
        tell(-len(partitions))

    def tell(change: int) -> None:
        if change:
            print(json.dumps([time.monotonic(), change]), flush=True)

    consumer = Consumer(settings)
    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
    while True:
        consumer.poll(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
