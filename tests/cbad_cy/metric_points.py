"""Metric points for tests, one by one and as columns."""

from array import array
from collections.abc import Sequence

from cbad_cy.points import ROLES, Points, Taken
from cbad_cy.reference_points import Buckets, RawPoint

S = 10**9
INF = float("inf")
NO_D, NO_I, NO_Q = array("d"), array("I"), array("Q")


def columns(points: Sequence[RawPoint]) -> tuple[object, ...]:
    """The arguments of `Points.take`."""
    return (
        array("Q", [point.series for point in points]),
        array("Q", [point.time_ns for point in points]),
        array("Q", [point.start_ns for point in points]),
        bytes(point.kind for point in points),
        array("d", [point.value for point in points]),
        array("d", [point.count for point in points]),
        array("d", [point.sum for point in points]),
        array("I", [len(point.buckets) for point in points]),
        array("d", [bound for point in points for bound in point.buckets.at]),
        array("d", [count for point in points for count in point.buckets.held]),
    )


def take(table: Points, points: Sequence[RawPoint]) -> Taken:
    return table.take(*columns(points))  # type: ignore[arg-type]


def told(taken: Taken) -> list[tuple[int, str, float]]:
    """Index of the point, role and value of each number."""
    return [(record, ROLES[part], value) for record, part, value in zip(taken.record, taken.part, taken.values, strict=True)]


def numbers(points: Sequence[RawPoint]) -> tuple[list[tuple[int, str, float]], list[int]]:
    """What a new table tells of points, and their status."""
    taken = take(Points(series_max=10), points)
    return told(taken), list(taken.status)


def only(role: str, points: Sequence[RawPoint]) -> list[float]:
    return [value for _, said, value in numbers(points)[0] if said == role]


def counter(*steps: tuple[float, float], start: float = 0, kind: int = 2) -> list[RawPoint]:
    """Points of a counter: times in seconds and values."""
    return [RawPoint(1, round(t * S), kind, round(start * S), value) for t, value in steps]


def histogram(
    t: float,
    held: Sequence[float],
    at: Sequence[float] = (1.0, 2.0, 4.0, INF),
    *,
    start: float = 0,
    kind: int = 5,
    total: float = 0,
) -> RawPoint:
    """A point of a histogram at t seconds."""
    return RawPoint(1, round(t * S), kind, round(start * S), 0.0, sum(held), total, Buckets(tuple(at), tuple(map(float, held))))
