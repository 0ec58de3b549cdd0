"""Protocol 1: how often windows of normal streams alarm, after 5,000 events, at nominal 5 % and 1 %.

Our decision and its p-value by themselves; and every score, ours too, above the quantile of the stream's own first 5,000
events ("early"), which is what a threshold set once and kept is worth.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from types import ModuleType

from bench.quality.figures import Figure
from bench.quality.measures import alarm_bound, incident_sizes, threshold_at
from bench.quality.references import WINDOW_REFERENCES
from bench.quality.streams import SYSTEMS, hdfs_normal, prolonged, synthetic, system
from bench.quality.windows import BALANCED, Judged, Ours, Run, profiles
from driftlock.engine.limits import Limits

SETTLED_EVENTS = Limits().calibrated_events_min
YOUNG_EVENTS = 1000  # of streams that end before they could settle; our decision may not be possible before they end
LEVELS = (0.05, 0.01)
BOUND_DRAWS = 2000
PROTOCOL = "1 false alarms"
GAP = Limits().incident_gap_windows
HDFS_EVENTS = 250_000
SYNTHETIC_EVENTS = 30_000
PROLONGED_EVENTS = 12_000
SEEDS = (0, 1, 2)
TOUCHED_WINDOWS = BALANCED.window_size // BALANCED.hop_size  # one strange line is in so many windows


@dataclass(frozen=True, slots=True)
class Normal:
    """Streams of one kind, pooled into one row; windows count from event `settled` on."""

    name: str
    streams: Sequence[Sequence[bytes]]
    settled: int = SETTLED_EVENTS


def normals(data: ModuleType, *, quick: bool) -> list[Normal]:
    """The normal streams of the protocol."""
    systems = [system(data, name) for name in SYSTEMS]
    longer = [prolonged(lines, PROLONGED_EVENTS, seed) for seed, lines in enumerate(systems)]
    seeds = SEEDS[:1] if quick else SEEDS
    return [
        Normal("HDFS, normal blocks", [hdfs_normal(data, HDFS_EVENTS // 5 if quick else HDFS_EVENTS)]),
        *(Normal(name, streams) for name, streams in synthetic(SYNTHETIC_EVENTS, seeds).items()),
        Normal("5 systems, prolonged", longer),
        Normal("5 systems, 2,000 lines", systems, YOUNG_EVENTS),
    ]


def calibrated(judged: Sequence[Judged], statistic: int, level: float, settled: int) -> list[bool]:
    """Alarms after `settled` events by the threshold that the windows before them set: only normal history is used."""
    early = [window.scores[statistic] for window in judged if window.end <= settled and isfinite(window.scores[statistic])]
    limit = threshold_at(early, level)
    return [window.scores[statistic] > limit for window in judged if window.end > settled]


def figures_of(normal: Normal, detector: str, alarms: Mapping[float, Sequence[Sequence[bool]]], gap: int) -> Iterator[Figure]:
    """Shares and incidents from the alarms of each stream by nominal level; incidents never reach into the next stream."""
    for level, parts in alarms.items():
        windows = sum(map(len, parts))
        sizes = [size for part in parts for size in incident_sizes(part, gap)]
        bound = alarm_bound(sizes, windows, TOUCHED_WINDOWS, BOUND_DRAWS, seed=1)
        about = (PROTOCOL, "windows alarmed, with a 95 % upper bound", normal.name, detector)
        yield Figure(*about, f"alarmed at {level}", sum(sizes) / windows, None, bound, windows)
        yield Figure(*about, f"incidents/1000 at {level}", 1000 * len(sizes) / windows, count=windows)


def our_figures(normal: Normal, codecs: Sequence[str]) -> Iterator[Figure]:
    """The shipped decision, and its p-value without the gate on the distance."""
    for codec, profile in profiles(codecs).items():
        decisions, p_values = {}, {}
        for level in LEVELS:
            judged = [Ours(replace(profile, p_value_threshold=level)).feed(lines) for lines in normal.streams]
            late = [[window for window in part if window.end > normal.settled] for part in judged]
            decisions[level] = [[bool(window.flagged) for window in part] for part in late]
            p_values[level] = [[window.p_value is not None and window.p_value <= level for window in part] for part in late]
        yield from figures_of(normal, f"driftlock {codec} decision", decisions, GAP)
        yield from figures_of(normal, f"driftlock {codec} p alone", p_values, GAP)


def reference_figures(normal: Normal, makers: Sequence[Callable[[], Run]]) -> Iterator[Figure]:
    """Each score with a threshold from the windows before event `settled`, kept for good."""
    for make in makers:
        runs = [make() for _ in normal.streams]
        judged = [run.feed(lines) for run, lines in zip(runs, normal.streams, strict=True)]
        for statistic, name in enumerate(runs[0].names):
            if not any(isfinite(window.scores[statistic]) and window.end <= normal.settled for window in judged[0]):
                continue  # too young for a threshold
            alarms = {level: [calibrated(part, statistic, level, normal.settled) for part in judged] for level in LEVELS}
            yield from figures_of(normal, f"{name} (early)", alarms, GAP)


def figures(data: ModuleType, codecs: Sequence[str], *, quick: bool) -> Iterator[Figure]:
    """The table."""
    makers = [*(lambda profile=profile: Ours(profile) for profile in profiles(codecs).values()), *WINDOW_REFERENCES]
    for normal in normals(data, quick=quick):
        yield from our_figures(normal, codecs)
        yield from reference_figures(normal, makers)
