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
    """What is said of each point: alarm level reached, rank among single points, published p-value, and whether it alarmed.

    `alarmed` by the level, `pointed` by the point channel, which tells what the level does not. Points that were not taken (a
    repeated or earlier time) have level 0, p 1 and the lowest rank.
    """

    level: Floats
    rank: Floats
    p_value: Floats
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
    level, rank, p_value = (np.array(part, dtype=np.float64) for part in (feed.level, feed.rank, feed.p_value))
    lowest = float(rank[taken].min())
    return Watched(np.where(taken, level, 0.0), np.where(taken, rank, lowest), np.where(taken, p_value, 1.0), alarmed, pointed)


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


class DriftlockPoint:
    """The published p-value, as -log10 p."""

    name = "driftlock -log p"

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """See `bench.metrics.detectors.Detector`."""
        return -np.log10(watch(times_ns, values).p_value)
