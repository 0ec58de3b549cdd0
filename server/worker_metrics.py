"""Metrics of a worker: partitions are few and ours, so they may be a label."""

import contextlib
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from collector.kafka.assignment import Hold
from collector.kafka.consumer import Seen


class WorkerCounters:
    """What was taken from partitions, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "driftlock_worker_messages", "Messages that were journaled, or known already.", ["partition"], registry=registry
        )
        self.records = Counter("driftlock_worker_records", "Records that were journaled.", ["partition"], registry=registry)
        self.duplicates = Counter(
            "driftlock_worker_duplicate_messages", "Messages that were journaled before.", ["partition"], registry=registry
        )
        self.dead = Counter(
            "driftlock_worker_dead_letters", "Messages that became dead letters.", ["partition"], registry=registry
        )
        self.missing = Counter(
            "driftlock_worker_missing_offsets",
            "Gaps: Kafka did not have the offset any more that was next.",
            ["partition"],
            registry=registry,
        )
        self.fenced = Counter(
            "driftlock_worker_fenced",
            "How often another worker was found to own a shard: what was under way there was refused.",
            registry=registry,
        )
        self.failed = Counter(
            "driftlock_worker_failures", "How often the work on a partition failed and began anew.", registry=registry
        )
        self.delay = Gauge(
            "driftlock_worker_delay_seconds",
            "From the receipt of the newest journaled message of a partition until it was journaled.",
            ["partition"],
            registry=registry,
        )
        self.rebalanced = Gauge(
            "driftlock_worker_rebalance_timestamp_seconds",
            "When partitions came or went last (Unix time); 0 before that.",
            registry=registry,
        )
        self.dead_letters = Gauge(
            "driftlock_dead_letters",
            "Dead letters of all workers that nobody has sent again, asked for every half a minute.",
            registry=registry,
        )
        self.gaps = Gauge(
            "driftlock_source_gaps",
            "Gaps that workers have ever written down: offsets that Kafka did not have any more.",
            registry=registry,
        )

    def begin(self, partition: int) -> None:
        """A partition is ours: its counts are there from the first look on."""
        for counter in (self.messages, self.records, self.duplicates, self.dead, self.missing):
            counter.labels(str(partition))
        self.rebalanced.set_to_current_time()

    def end(self, partition: int) -> None:
        """A partition is not ours any more: it has no delay."""
        with contextlib.suppress(KeyError):  # it had none yet
            self.delay.remove(str(partition))
        self.rebalanced.set_to_current_time()


class WorkerGauges(Collector):
    """What the consumer and the owners of shards know, read whenever metrics are collected."""

    def __init__(
        self, registry: CollectorRegistry, seen: Callable[[], Seen], rows: Callable[[], Mapping[int, tuple[int, int]]]
    ) -> None:
        """`rows` are the journal's last position and the applied one, by partition."""
        self._seen, self._rows = seen, rows
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily]:
        """See `prometheus_client`."""
        seen = self._seen()
        lag = GaugeMetricFamily(
            "driftlock_worker_lag_messages", "Messages of a partition that are not read yet.", labels=["partition"]
        )
        for partition, high in seen.high.items():
            if seen.next_offsets.get(partition, -1) >= 0:
                lag.add_metric([str(partition)], max(0, high - seen.next_offsets[partition]))
        unscored = GaugeMetricFamily(
            "driftlock_worker_lag_rows", "Journal rows of a partition that are not scored yet.", labels=["partition"]
        )
        for partition, (last_seq, applied_seq) in self._rows().items():
            unscored.add_metric([str(partition)], max(0, last_seq - applied_seq))
        paused = GaugeMetricFamily(
            "driftlock_worker_paused_partitions", "Partitions that nothing is read from, by the limit.", labels=["limit"]
        )
        for why in Hold:
            paused.add_metric([why.value], sum(why in holds for holds in seen.holds.values()))
        return [
            lag,
            unscored,
            paused,
            _one("driftlock_worker_partitions", "Partitions that are this worker's.", len(seen.holds)),
            _one("driftlock_worker_in_flight_bytes", "Bytes that are read and not journaled.", seen.in_flight_bytes),
            _one("driftlock_worker_rebalances", "How often partitions came or went.", seen.rebalances),
            _one(
                "driftlock_worker_bad_partitions",
                "Alarm: partitions that are paused because too many of their messages can not be read.",
                sum(Hold.BAD_MESSAGES in holds for holds in seen.holds.values()),
            ),
        ]


def _one(name: str, description: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, value=value)
