"""Real rate of small published p-values where nothing is wrong: at p <= 1e-2, one point in a hundred should be there.

Points count from the 300th of their series on, and at least 50 points away from any label. Synthetic series have no label.
"""

from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench.metrics import corpora
from bench.metrics.corpora import Labelled
from bench.metrics.detectors import WindowedGaussian
from bench.metrics.measures import share_interval
from bench.metrics.ours import watch
from bench.metrics.synthetic import USUAL, usual
from bench.quality.figures import Figure

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
PROTOCOL = "9 real rate of p"
CONDITION = "points without an anomaly; nominal as named"
NOMINAL = (1e-2, 1e-3)
LENGTH, SERIES, QUICK_SERIES = 10_000, 20, 3
DRAWS, SEED = 1000, 10


def made(base: str, count: int) -> list[Labelled]:
    """Long series of one base."""
    found = []
    for seed in range(count):
        series = usual(
            USUAL[base], LENGTH, np.random.default_rng(np.random.SeedSequence((SEED, list(USUAL).index(base), seed)))
        )
        found.append(Labelled(f"{base} {seed}", series.times_ns, series.values(), np.zeros(LENGTH, dtype=np.int64)))
    return found


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """Public sets first, then each synthetic base; ours and the normal law for comparison."""
    labelled, _ = corpora.nab(data)
    sets = {
        "NAB, outside windows": [corpora.ascending(one) for one in labelled],
        "Microsoft, unlabelled": [corpora.ascending(one) for one in corpora.microsoft(data)],
        **{base: made(base, QUICK_SERIES if quick else SERIES) for base in USUAL},
    }
    normal = WindowedGaussian()
    for name, series in sets.items():
        counted = [corpora.free(one.labels) for one in series]
        yield from _told(name, "driftlock", [watch(one.times_ns, one.values).p_value for one in series], counted)
        yield from _told(name, normal.name, [normal.p_values(one.times_ns, one.values) for one in series], counted)


def _told(name: str, detector: str, p_values: Sequence[Floats], counted: Sequence[Booleans]) -> Iterator[Figure]:
    kept = [p[some] for p, some in zip(p_values, counted, strict=True) if some.any()]
    for nominal in NOMINAL:
        hits, counts = [int((p <= nominal).sum()) for p in kept], [len(p) for p in kept]
        share, low, high = (part / nominal for part in share_interval(hits, counts, DRAWS, SEED))
        about = (PROTOCOL, CONDITION, name, detector)
        yield Figure(*about, f"times nominal, p <= {nominal:g}", share, low, high, count=sum(counts))
