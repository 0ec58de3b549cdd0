"""Metrics of a bridge: topics and their partitions are few and named by settings, so they may be labels."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from collector.kafka.assignment import Hold
from collector.kafka.consumer import Seen

PLACE = ["topic", "partition"]


class BridgeCounters:
    """What was taken from partitions, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter("driftlock_bridge_messages", "Messages that were handed over.", PLACE, registry=registry)
        self.records = Counter("driftlock_bridge_records", "Records that were handed over.", PLACE, registry=registry)
        self.dead = Counter("driftlock_bridge_dead_letters", "Messages that became dead letters.", PLACE, registry=registry)
        self.missing = Counter(
            "driftlock_bridge_missing_offsets",
            "Gaps: Kafka did not have the offset any more that was next.",
            PLACE,
            registry=registry,
        )
        self.failed = Counter(
            "driftlock_bridge_failures", "How often the work on a partition failed and began anew.", registry=registry
        )

    def begin(self, topic: str, partition: int) -> None:
        """A partition is ours: its counts are there from the first look on."""
        for counter in (self.messages, self.records, self.dead, self.missing):
            counter.labels(topic, str(partition))


class BridgeGauges(Collector):
    """What the consumers know, by topic, read whenever metrics are collected."""

    def __init__(self, registry: CollectorRegistry, seen: Callable[[], Mapping[str, Seen]]) -> None:
        self._seen = seen
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily]:
        """See `prometheus_client`."""
        lag = GaugeMetricFamily("driftlock_bridge_lag_messages", "Messages that are not read yet.", labels=PLACE)
        owned = GaugeMetricFamily("driftlock_bridge_partitions", "Partitions that are this bridge's.", labels=["topic"])
        waiting = GaugeMetricFamily(
            "driftlock_bridge_in_flight_bytes", "Bytes that are read and not handed over.", labels=["topic"]
        )
        paused = GaugeMetricFamily(
            "driftlock_bridge_paused_partitions",
            "Partitions that nothing is read from, by the limit; bad_messages is an alarm.",
            labels=["topic", "limit"],
        )
        for topic, seen in self._seen().items():
            for partition, high in seen.high.items():
                if seen.next_offsets.get(partition, -1) >= 0:
                    lag.add_metric([topic, str(partition)], max(0, high - seen.next_offsets[partition]))
            owned.add_metric([topic], len(seen.holds))
            waiting.add_metric([topic], seen.in_flight_bytes)
            for why in Hold:
                paused.add_metric([topic, why.value], sum(why in holds for holds in seen.holds.values()))
        return [lag, owned, waiting, paused]
