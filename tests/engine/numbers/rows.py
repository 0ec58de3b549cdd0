"""Rows of metric points for tests, and a fold that is interrupted at will."""

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cbad_cy.codec import Codec
from driftlock.engine.event import PointKind, RecordBatch, Signal, StreamKey
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.state import number_state, restore_numbers
from driftlock.engine.profile import PROFILES
from driftlock.engine.verdict import Finding

KEY = StreamKey(Signal.METRICS, "checkout", "shop", "prod")
BALANCED = PROFILES["balanced"]
CODEC = Codec("statistical", 1)
START_NS = 28_333_333 * MINUTE_NS
NAN = float("nan")
BOUNDS = (0.1, 1.0, 10.0, float("inf"))


@dataclass(frozen=True)
class Point:
    time_ns: int
    name: str
    value: float = NAN
    instance: str = ""
    kind: PointKind = PointKind.GAUGE
    start_ns: int = 0
    count: float = NAN
    sum: float = NAN
    buckets: tuple[float, ...] = ()


def batch_of(points: Sequence[Point], *, historical: bool = False) -> RecordBatch:
    instances = sorted({point.instance for point in points} - {""})
    names = sorted({point.name for point in points})
    return RecordBatch(
        lengths=array("I", [0] * len(points)),
        times_ns=array("Q", [point.time_ns for point in points]),
        historical=historical,
        instances=tuple(instances),
        instance_index=array("I", [instances.index(it.instance) + 1 if it.instance else 0 for it in points]),
        series=tuple(names),
        series_index=array("I", [names.index(point.name) + 1 for point in points]),
        values=array("d", [point.value for point in points]),
        point_kinds=bytes(point.kind for point in points),
        starts_ns=array("Q", [point.start_ns for point in points]),
        counts=array("d", [point.count for point in points]),
        sums=array("d", [point.sum for point in points]),
        shape_sizes=array("I", [len(point.buckets) for point in points]),
        shape_at=array("d", [bound for point in points for bound in BOUNDS[: len(point.buckets)]]),
        shape=array("d", [count for point in points for count in point.buckets]),
    )


def minute(number: float) -> int:
    return START_NS + round(number * MINUTE_NS)


def new_detector(limits: Limits | None = None, profile: str = "balanced") -> NumberDetector:
    return NumberDetector(KEY, PROFILES[profile], 7, limits or Limits())


def steady(name: str, minutes: Iterable[int], *, instance: str = "", seed: str = "", level: float = 10.0) -> list[Point]:
    """A gauge around a level, one point a minute; each minute's number depends on nothing else."""
    found = []
    for number in minutes:
        noise = random.Random(f"{seed}{name}{instance}{number}").gauss(0.0, 1.0)
        found.append(Point(minute(number), name, level + noise, instance))
    return found


def in_time(*points: Iterable[Point]) -> list[Point]:
    return sorted((point for part in points for point in part), key=lambda point: (point.time_ns, point.instance, point.name))


def by_minute(points: Sequence[Point]) -> list[list[Point]]:
    rows: dict[int, list[Point]] = {}
    for point in points:
        rows.setdefault(point.time_ns // MINUTE_NS, []).append(point)
    return list(rows.values())


def live(detector: NumberDetector, points: Sequence[Point]) -> list[Finding]:
    """One row a minute, received two seconds after its newest point."""
    findings = []
    for row in by_minute(points):
        received_ns = max(point.time_ns for point in row) + 2 * SECOND_NS
        findings += detector.fold(batch_of(row), received_ns, CODEC)
    return findings


@dataclass
class Interrupted:
    """A fold that can be stopped and continued from its bytes, and whose series come and go."""

    detector: NumberDetector
    stored: dict[int, bytes] = field(default_factory=dict)

    def fold(self, batch: RecordBatch, received_ns: int) -> list[Finding]:
        absent = self.detector.absent(batch)
        self.detector.admit({number: self.stored[number] for number in absent if number in self.stored})
        return self.detector.fold(batch, received_ns, CODEC)

    def save(self) -> bytes:
        self.stored.update(self.detector.unsaved())
        for number in self.detector.forgotten():
            self.stored.pop(number, None)
        return number_state(self.detector)

    def evict(self, series_max: int) -> None:
        self.save()
        self.detector.evict(series_max)

    def restart(self) -> None:
        self.detector = restore_numbers(self.save(), KEY, 7, self.detector.limits)
