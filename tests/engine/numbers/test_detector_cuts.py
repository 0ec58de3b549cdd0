"""How records are cut into rows, restarts, and which series are in memory change nothing that is found."""

import random
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from driftlock.engine.event import PointKind
from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.verdict import Finding, Question
from tests.engine.numbers.rows import CODEC, NAN, Interrupted, Point, batch_of, in_time, minute, new_detector, steady

MINUTES = 520
FAR_NS = minute(10 * MINUTES)
SMALL = Limits(series_max=16)
# Each example folds thousands of points: a failing one is not made smaller.
GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


def counter(name: str, minutes: range, instance: str) -> list[Point]:
    total, found = 0.0, []
    for number in minutes:
        total += 60 + random.Random(f"{name}{number}").randrange(20) + (600 if number == 470 else 0)
        found.append(Point(minute(number), name, total, instance, PointKind.CUMULATIVE, minute(-1)))
    return found


def histogram(name: str, minutes: range, instance: str) -> list[Point]:
    found = []
    for number in minutes:
        rng = random.Random(f"{name}{number}")
        buckets = tuple(float(rng.randrange(20, 40)) for _ in range(3)) + ((90.0,) if number == 480 else (1.0,))
        count = sum(buckets)
        found.append(
            Point(
                minute(number),
                name,
                instance=instance,
                kind=PointKind.HISTOGRAM_DELTA,
                start_ns=minute(number - 1),
                count=count,
                sum=count * 2,
                buckets=buckets,
            )
        )
    return found


@cache
def eventful() -> tuple[Point, ...]:
    """Some of everything: spikes, series that fall silent, one that says so, one that lags, an instance that stops."""
    spiky = [
        it if it.time_ns != minute(450) else Point(it.time_ns, "spiky", 60.0, "pod-1")
        for it in steady("spiky", range(MINUTES), instance="pod-1")
    ]
    fast = [Point(minute(at / 6), "fast", 5 + (at * 7919 % 13) / 13 + 40 * (at == 2800), "pod-1") for at in range(MINUTES * 6)]
    flat = [
        Point(it.time_ns, "flat", it.value if it.time_ns < minute(400) else 10.0, "pod-2")
        for it in steady("flat", range(MINUTES), instance="pod-2")
    ]
    ends = [*steady("ends", range(350), instance="pod-1"), Point(minute(350), "ends", NAN, "pod-1", PointKind.STALE)]
    lagging = steady("lagging", range(MINUTES), instance="pod-3")
    on_time = in_time(
        spiky,
        fast,
        flat,
        ends,
        counter("requests", range(MINUTES), "pod-2"),
        histogram("latency", range(MINUTES), "pod-2"),
        steady("silent", (*range(360), *range(440, MINUTES)), instance="pod-1"),
        *(steady(f"gone{k}", range(380), instance="pod-4") for k in range(3)),
    )
    late = {point.time_ns: point for point in lagging}
    found: list[Point] = []
    for point in on_time:
        found.append(point)
        if point.name == "spiky" and point.time_ns - 9 * 60 * SECOND_NS in late:
            found.append(late[point.time_ns - 9 * 60 * SECOND_NS])
    return tuple(found)


def fingerprint(findings: list[Finding]) -> list[bytes]:
    return [finding.to_json() for finding in findings]


@cache
def undisturbed(historical: bool) -> tuple[tuple[bytes, ...], int, int]:
    detector = new_detector()
    found = detector.fold(batch_of(eventful(), historical=historical), FAR_NS, CODEC)
    return tuple(fingerprint(found)), detector.events, detector.windows


def test_the_example_has_something_of_everything() -> None:
    findings = [Finding.from_json(body) for body in undisturbed(True)[0]]
    named = {(finding.question, finding.series[0].series) for finding in findings}
    assert (Question.VALUE, "spiky") in named
    assert (Question.VALUE, "fast") in named
    assert (Question.VALUE, "requests rate") in named
    assert (Question.FLATLINE, "flat") in named
    assert (Question.MISSING, "silent") in named
    assert any(name.startswith("latency ") for _, name in named)
    missing = [finding for finding in findings if finding.question is Question.MISSING]
    assert [finding.subject for finding in missing].count("pod-4") == 1
    assert not {"ends", "lagging"} & {finding.series[0].series for finding in missing}


@pytest.mark.parametrize("historical", [False, True])
@settings(max_examples=8, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_cuts_restarts_and_evictions_change_no_finding(historical: bool, data: st.DataObject) -> None:
    points = eventful()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(points) - 1), max_size=30)))
    fold = Interrupted(new_detector())
    found: list[Finding] = []
    for first, last in zip((0, *cuts), (*cuts, len(points)), strict=True):
        match data.draw(st.sampled_from(("go on", "restart", "evict", "evict some"))):
            case "restart":
                fold.restart()
            case "evict":
                fold.evict(0)
            case "evict some":
                fold.evict(data.draw(st.integers(1, 12)))
        found += fold.fold(batch_of(points[first:last], historical=historical), FAR_NS)
    assert (tuple(fingerprint(found)), fold.detector.events, fold.detector.windows) == undisturbed(historical)


@settings(max_examples=8, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_cuts_and_restarts_change_no_finding_where_series_are_forgotten(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 10)))
    points = []
    for number in range(400):
        names = [f"m{k}" for k in range(8)] + [f"churn{rng.randrange(60)}" for _ in range(2)]
        points += [Point(minute(number) + k, name, rng.gauss(5, 1)) for k, name in enumerate(names)]
    whole = Interrupted(new_detector(SMALL))
    expected = fingerprint(whole.fold(batch_of(points, historical=True), FAR_NS))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(points) - 1), max_size=20)))
    fold = Interrupted(new_detector(SMALL))
    found = []
    for first, last in zip((0, *cuts), (*cuts, len(points)), strict=True):
        found += fold.fold(batch_of(points[first:last], historical=True), FAR_NS)
        if data.draw(st.booleans()):
            fold.restart()
        else:
            fold.evict(data.draw(st.integers(0, 16)))
    assert fingerprint(found) == expected
    assert list(fold.detector.memory.directory.entries) == list(whole.detector.memory.directory.entries)
    assert len(fold.detector.memory.directory) <= SMALL.series_max
    fold.save()
    assert set(fold.stored) == set(whole.detector.memory.directory.entries)


@settings(max_examples=8, deadline=None, phases=GENERATE)
@given(order=st.randoms(use_true_random=False), keep=st.booleans())
def test_the_order_of_series_within_a_minute_does_not_matter(order: random.Random, keep: bool) -> None:
    points = in_time(*(steady(f"m{k}", range(320), level=10 * k) for k in range(4)))
    spike = Point(minute(320), "m2", 90.0)
    shuffled = [spike]
    for first in range(0, len(points), 4):
        part = list(points[first : first + 4])
        if not keep:
            order.shuffle(part)
        shuffled = [*shuffled[:-1], *part, spike]
    found = new_detector().fold(batch_of(shuffled, historical=True), FAR_NS, CODEC)
    expected = new_detector().fold(batch_of([*points, spike], historical=True), FAR_NS, CODEC)
    facts = [
        sorted((it.end_ns, it.series[0].series, it.ncd, it.p_value, it.explanation) for it in part)
        for part in (found, expected)
    ]
    assert facts[0] == facts[1]
    assert facts[0]


def jittered(seed: int) -> list[Point]:
    """Points at any nanosecond, with spikes, a jump and a stretch that stands still."""
    rng, found = random.Random(seed), []
    for number in range(420):
        for name in ("load", "queue"):
            value = rng.gauss(10, 1) + 60 * (number in (330, 380)) + 15 * (number > 400)
            found.append(Point(minute(number) + rng.randrange(60 * SECOND_NS), name, value, "pod"))
    return sorted(found, key=lambda point: point.time_ns)


@given(st.integers(0, 10**6), st.sets(st.integers(1, 839), max_size=60))
@settings(max_examples=8, deadline=None, phases=GENERATE)
def test_charts_at_any_nanosecond_are_the_same_however_rows_are_cut(seed: int, cuts: set[int]) -> None:
    points = jittered(seed)
    told = []
    for edges in ([0, len(points)], [0, *sorted(cuts), len(points)]):
        fold, found = Interrupted(new_detector()), []
        for first, last in pairwise(edges):
            found += fold.fold(batch_of(points[first:last], historical=True), FAR_NS)
            if last % 3 == 0:
                fold.restart()
        told.append(found)
    assert [it.canonical() for it in told[0]] == [it.canonical() for it in told[1]]
    numeric = [it for it in told[0] if it.question is not Question.MISSING]
    assert numeric
    for finding in numeric:
        [evidence] = finding.series
        assert (evidence.chart.times_ns[-1], evidence.chart.values[-1]) == (finding.end_ns, evidence.value)
