"""Microsoft's cloud monitoring set: 60 production series with labelled points.

Mean average precision over the series that have a label; recall of labelled segments with one threshold for all series, such
that there is at most so many false alarm episodes a day and series (`bench.metrics.measures` has the rules). The threshold
of a budget is read off these labels for every detector alike. "driftlock" is our own alarm rule as shipped, which saw none,
beside each of its two channels.
"""

from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench.metrics import corpora
from bench.metrics.corpora import Labelled
from bench.metrics.detectors import Detector
from bench.metrics.measures import Recall, average_precision, mean_interval, recall_at, threshold_for
from bench.metrics.nab_figures import references
from bench.metrics.ours import Driftlock, DriftlockPoint, DriftlockRank, DriftlockScore, by_channel
from bench.quality.figures import Figure

Floats = NDArray[np.float64]
PROTOCOL = "8 Microsoft cloud monitoring"
CONDITION = "points with ascending times, episodes 10 points apart"
BUDGETS = (0.1, 1.0)
DRAWS, SEED = 1000, 8


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """All detectors."""
    series = [corpora.ascending(one) for one in corpora.microsoft(data)]
    days = sum(one.days for one in series)
    ours: list[Detector] = [DriftlockRank(), DriftlockScore(), Driftlock(), DriftlockPoint()]
    labels = [one.labels for one in series]
    for name, shipped in by_channel(series).items():
        yield from _shown(name, "", recall_at(shipped, labels, days, draws=DRAWS, seed=SEED, threshold=0.5))
    for detector in (*ours, *references(quick=quick)):
        scores = [detector.scores(one.times_ns, one.values) for one in series]
        yield from _precision(detector.name, series, scores)
        for budget in BUDGETS:
            threshold = threshold_for(scores, labels, days, budget)
            alarmed = [one >= threshold for one in scores]
            found = recall_at(alarmed, labels, days, draws=DRAWS, seed=SEED, threshold=threshold)
            yield from _shown(detector.name, f" at {budget:g}/day", found)


def _precision(name: str, series: Sequence[Labelled], scores: Sequence[Floats]) -> Iterator[Figure]:
    values = [average_precision(score, one.labels) for score, one in zip(scores, series, strict=True) if bool(one.labels.any())]
    about = (PROTOCOL, CONDITION, f"{len(series)} series", name)
    yield Figure(*about, "mean AP", *mean_interval(values, DRAWS, SEED), count=len(values))


def _shown(name: str, at: str, found: Recall) -> Iterator[Figure]:
    about = (PROTOCOL, CONDITION, "60 series", name)
    yield Figure(*about, f"recall{at}", found.share, found.low, found.high, count=found.segments)
    if at:
        yield Figure(*about, f"mean over series{at}", found.mean, count=found.segments)
    else:
        yield Figure(*about, "false episodes a day", found.false_a_day, count=found.segments)
