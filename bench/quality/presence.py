"""Protocol 7: rates and silences. How often normal streams are told to be silent or odd, and how soon what stops is found.

`python -m bench.quality.presence`. Public streams at their own times: HDFS, five systems of loghub by the times in their
lines, and the services of a test bed. Synthetic ones have a daily and a weekly season, lines at random and regular ones.
"""

import itertools
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import cos, pi
from statistics import median
from types import ModuleType

from bench.data import loaders
from bench.quality.figures import Figure, show
from cbad_cy.codec import Codec
from driftlock.engine.detector import Detector
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES
from driftlock.engine.verdict import Finding, Question

PROTOCOL = "7 presence"
SECOND_NS = 10**9
DAY_S = 86_400
BASE_S = 2810 * 7 * DAY_S  # a Thursday at midnight
FAR_NS = 4 * 10**18
ROW_S = 10
BATCH = 1000
SERVICES = 12
SEEDS = 3
TIMES: dict[str, Callable[[str], datetime]] = {
    "Apache": lambda line: datetime.strptime(line[1:25], "%a %b %d %H:%M:%S %Y"),
    "BGL": lambda line: datetime.fromtimestamp(int(line.split()[1]), UTC),
    "Linux": lambda line: datetime.strptime(f"2005 {line[:15]}", "%Y %b %d %H:%M:%S"),
    "OpenSSH": lambda line: datetime.strptime(f"2005 {line[:15]}", "%Y %b %d %H:%M:%S"),
    "Thunderbird": lambda line: datetime.fromtimestamp(int(line.split()[1]), UTC),
}

Event = tuple[float, str]


def public(data: ModuleType, *, quick: bool) -> Iterator[tuple[str, list[Event]]]:
    """(name, events in the order of their times)."""
    yield "HDFS", [(at, text) for at, text, _, _ in itertools.islice(data.hdfs_lines(), 50_000 if quick else None)]
    for name, parse in TIMES.items():
        yield name, [(parse(text).replace(tzinfo=UTC).timestamp(), text) for _, text, _, _ in data.loghub(name)]
    services: dict[str, list[Event]] = {}
    for at, text, pod in data.nezha_logs():
        if at > 0:
            services.setdefault(pod, []).append((at, text))
    largest = sorted(services.values(), key=len, reverse=True)[: 2 if quick else SERVICES]
    for number, events in enumerate(largest):
        yield f"test bed {number + 1}", sorted(events, key=lambda event: event[0])


def batch(events: Sequence[Event], *, historical: bool) -> RecordBatch:
    """The events as records."""
    lines = [text.encode() for _, text in events]
    times = array("Q", (int(at * SECOND_NS) for at, _ in events))
    return RecordBatch(b"".join(lines), array("I", map(len, lines)), times, historical=historical)


def new_fold() -> Detector:
    """A fold of the default profile."""
    return Detector(StreamKey(Signal.LOGS, "bench"), PROFILES["balanced"], 0, Limits())


def replayed(events: Sequence[Event]) -> list[Finding]:
    """Rates and silences that are told of a replay."""
    fold, codec, findings = new_fold(), Codec(DEFAULT_CODEC), list[Finding]()
    for start in range(0, len(events), BATCH):
        findings += fold.fold(batch(events[start : start + BATCH], historical=True), FAR_NS, codec)
    return [finding for finding in findings if finding.question in {Question.RATE, Question.SILENCE}]


def false_tellings(events: Sequence[Event]) -> dict[str, int]:
    """By kind: rates, silent lines, silences of the stream; live means rows every `ROW_S` seconds instead of a replay."""
    found = replayed(events)
    lines = sum(bool(finding.missing) for finding in found)
    rates = sum(finding.question is Question.RATE for finding in found)
    return {"rate": rates, "line": lines, "stream": len(found) - rates - lines, "stream, live": lived(events)[0]}


def lived(events: Sequence[Event]) -> tuple[int, float | None]:
    """How often a live stream is told to be silent while it goes on, and how many minutes after its end; None = never."""
    fold, codec, told = new_fold(), Codec(DEFAULT_CODEC), 0
    for tick, row in itertools.groupby(events, lambda event: int(event[0] // ROW_S) + 1):
        received_ns = tick * ROW_S * SECOND_NS + SECOND_NS // 2
        told += 0 < fold.due_ns <= received_ns
        fold.fold(batch(list(row), historical=False), received_ns, codec)
    return told, (fold.due_ns / SECOND_NS - events[-1][0]) / 60 if fold.due_ns else None


# ---- synthetic streams -----------------------------------------------------------------------------------------------


def at_random(seed: int, days: float, rate: float, text: str, season: Callable[[float], float] | None = None) -> list[Event]:
    """So many events a second at most, independent of each other; `season` says which share of them comes."""
    rng, at, events = random.Random(seed), 0.0, []
    while (at := at + rng.expovariate(rate)) < days * DAY_S:
        if season is None or rng.random() < season(at):
            events.append((BASE_S + at, text))
    return events


def regular(days: float, step_s: float, text: str) -> list[Event]:
    """One event each step."""
    return [(BASE_S + number * step_s, text) for number in range(int(days * DAY_S / step_s))]


def work_hours(at_s: float) -> float:
    """Nothing at night and on two days of the week."""
    return float(8 <= at_s / 3600 % 24 < 20 and int(at_s / DAY_S) % 7 not in {2, 3})


def steady(_: float) -> float:
    """Always the same."""
    return 1.0


def day_and_night(at_s: float) -> float:
    """A smooth day, and quieter weekends."""
    level = 0.55 - 0.45 * cos(2 * pi * (at_s / 3600 - 3) / 24)
    return level * (0.3 if int(at_s / DAY_S) % 7 in {2, 3} else 1.0)


def seasons(days: float, seed: int) -> dict[str, list[Event]]:
    """Streams of some lines each, with what a season does to them."""
    streams = {}
    for name, season in (("work hours", work_hours), ("day and night", day_and_night), ("steady", steady)):
        parts = [
            at_random(seed * 10 + kind, days, rate, f"kind {'abcd'[kind]} done", season)
            for kind, rate in enumerate((1 / 10, 1 / 20, 1 / 60, 1 / 300))
        ]
        streams[name] = sorted(itertools.chain(*parts))
    return streams


def false_figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """False tellings of each stream a day."""
    streams = list(public(data, quick=quick)) + list(seasons(7 if quick else 28, 1).items())
    for name, events in streams:
        days = max((events[-1][0] - events[0][0]) / DAY_S, 1 / 24)
        for kind, told in false_tellings(events).items():
            yield Figure(PROTOCOL, "told of normal streams, a day", name, "driftlock", kind, told / days, count=len(events))
        yield Figure(PROTOCOL, "told of normal streams, a day", name, "driftlock", "days", days, count=len(events))


# ---- power -----------------------------------------------------------------------------------------------------------


def line_delays(days: float, *, quick: bool) -> list[float | None]:
    """Minutes from the end of a heartbeat of 60 s, in a stream that goes on, until it is told; None: not within 4 hours."""
    delays: list[float | None] = []
    for seed in range(1 if quick else SEEDS):
        stop = BASE_S + days * DAY_S
        others = [
            at_random(seed * 10 + kind, days + 1 / 6, rate, f"kind {'abc'[kind]}") for kind, rate in enumerate((0.5, 0.3, 0.1))
        ]
        found = replayed(sorted(itertools.chain(*others, regular(days, 60, "heartbeat ok"))))
        times = [it.end_ns / SECOND_NS for it in found if it.missing and it.missing[0].text == "heartbeat ok"]
        delays.append(next(((at - stop) / 60 for at in times if at > stop), None))
    return delays


def rate_delays(factor: float, season: Callable[[float], float], *, quick: bool) -> list[float | None]:
    """Minutes until a change of a rate of at most 36 a minute, at the noon after some days, is told; None: not in an hour."""
    delays: list[float | None] = []
    days = 2.5 if season is steady else 8.5
    for seed in range(1 if quick else SEEDS):
        before = at_random(seed, days, 0.6, "kind a", season)
        after = at_random(seed + 50, days + 1 / 24, 0.6 * max(1.0, factor), "kind a", lambda at: season(at) * min(1.0, factor))
        stop = BASE_S + days * DAY_S
        found = replayed(before + [event for event in after if event[0] >= stop])
        times = [it.end_ns / SECOND_NS for it in found if it.question is Question.RATE]
        delays.append(next(((at - stop) / 60 + 1 for at in times if at >= stop - 60), None))
    return delays


def power_figures(*, quick: bool) -> Iterator[Figure]:
    """Median delays in minutes, and how many were found at all."""
    seeds = 1 if quick else SEEDS
    cases: dict[str, Callable[[], list[float | None]]] = {
        "heartbeat of 60 s stops after 4 hours": lambda: line_delays(1 / 6, quick=quick),
        "heartbeat of 60 s stops after a day": lambda: line_delays(1, quick=quick),
        "10 events a second stop after 2 hours": lambda: [lived(at_random(n, 1 / 12, 10, "kind a"))[1] for n in range(seeds)],
        "an event a minute stops after a day": lambda: [lived(at_random(n, 1, 1 / 60, "kind a"))[1] for n in range(seeds)],
        "an event a minute stops after a week": lambda: [lived(at_random(n, 7, 1 / 60, "kind a"))[1] for n in range(seeds)],
        "a heartbeat stream of 60 s stops after a day": lambda: [lived(regular(1, 60, "kind a"))[1]],
        "five times a steady rate": lambda: rate_delays(5, steady, quick=quick),
        "a tenth of a steady rate": lambda: rate_delays(0.1, steady, quick=quick),
        "five times the rate, day and night": lambda: rate_delays(5, day_and_night, quick=quick),
        "a tenth of the rate, day and night": lambda: rate_delays(0.1, day_and_night, quick=quick),
    }
    for name, measured in cases.items():
        delays = measured()
        known = [delay for delay in delays if delay is not None]
        about = (PROTOCOL, "what changes at once", name, "driftlock")
        yield Figure(*about, "found", len(known) / len(delays), count=len(delays))
        yield Figure(*about, "minutes", median(known) if known else float("nan"), count=len(known))


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """The table."""
    yield from false_figures(data, quick=quick)
    yield from power_figures(quick=quick)


if __name__ == "__main__":
    show(list(figures(loaders(), quick=False)))
