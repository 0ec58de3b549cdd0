"""Our coder of numbers, driven through the entry point that the server uses, as the references are."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.metrics.corpora import Labelled
from cbad_cy.series import ALARM_LEVEL, SeriesTable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
SERIES = 1


class Watched(NamedTuple):
    """What is said of each point: alarm level, rank among single points, published p-value and score, and whether it alarmed.

    `alarmed` by the level, `pointed` by the point channel, which tells what the level does not. Points that were not taken (a
    repeated or earlier time) have level and score 0, p 1 and the lowest rank.
    """

    level: Floats
    rank: Floats
    p_value: Floats
    score: Floats
    alarmed: Booleans
    pointed: Booleans

    @property
    def told(self) -> Booleans:
        """Alarms of both channels: what is shipped."""
        return self.alarmed | self.pointed

    def channels(self) -> dict[str, Booleans]:
        """Alarms by the name under which figures show them."""
        return {"driftlock": self.told, "driftlock, level alone": self.alarmed, "driftlock, points alone": self.pointed}


def watch(times_ns: Integers, values: Floats, alarm_level: float = ALARM_LEVEL) -> Watched:
    """One series from a fresh start with the defaults, or with another alarm level."""
    table = SeriesTable(series_max=1, alarm_level=alarm_level)
    feed = table.feed(
        array("Q", [SERIES]) * len(values), array("Q", times_ns.tobytes()), array("d", values.tobytes()), watch=True
    )
    taken = np.frombuffer(feed.status, dtype=np.uint8) == 0
    alarmed, pointed = np.zeros(len(values), dtype=bool), np.zeros(len(values), dtype=bool)
    for alarm in feed.alarms:
        (pointed if alarm.cause == "point" else alarmed)[alarm.index] = True
    columns = (feed.level, feed.rank, feed.p_value, feed.score)
    level, rank, p_value, score = (np.array(part, dtype=np.float64) for part in columns)
    none = (0.0, float(rank[taken].min()), 1.0, 0.0)
    shown = (np.where(taken, part, other) for part, other in zip((level, rank, p_value, score), none, strict=True))
    return Watched(*shown, alarmed, pointed)


def by_channel(series: Sequence[Labelled], alarm_level: float = ALARM_LEVEL) -> dict[str, list[Booleans]]:
    """Alarms of many series, by the names of `Watched.channels`."""
    watched = [watch(one.times_ns, one.values, alarm_level).channels() for one in series]
    return {name: [one[name] for one in watched] for name in watched[0]}


class Driftlock:
    """The alarm level that each point reaches, quiet points after an alarm included."""

    name = "driftlock level"

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """See `bench.metrics.detectors.Detector`."""
        return watch(times_ns, values).level


class DriftlockRank:
    """The order of single points, also of different series: what a list of the strangest points is sorted by."""

    name = "driftlock rank"

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """See `bench.metrics.detectors.Detector`."""
        return watch(times_ns, values).rank


class DriftlockScore:
    """The published score: the rank, points that alarm before those that do not."""

    name = "driftlock score"

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """See `bench.metrics.detectors.Detector`."""
        return watch(times_ns, values).score


class DriftlockPoint:
    """The published p-value, as -log10 p."""

    name = "driftlock -log p"

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """See `bench.metrics.detectors.Detector`."""
        return -np.log10(watch(times_ns, values).p_value)
