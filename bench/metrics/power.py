"""Share of injected changes found, and after how many points; and what must stay silent, on series made to measure.

"driftlock" alarms by its own rule with its defaults. References have no rule: their threshold, one for all bases of an age,
gives .1 false episodes a day on equally long series without a change; our level at that rate stands beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.metrics.detectors import Detector, RollingZ, WindowedGaussian
from bench.metrics.measures import false_episodes, threshold_for
from bench.metrics.ours import Driftlock, watch
from bench.metrics.peers import HalfSpaceTrees
from bench.metrics.synthetic import BASES, CHANGES, DAY_POINTS, Case, applies, case
from bench.quality.figures import Figure
from bench.quality.measures import wilson

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
PROTOCOL = "10 synthetic"
AGES = (300, 1000, 4000)
BUDGET = 0.1
SEEDS, QUICK_SEEDS, SLOW_SEEDS = 40, 5, 10
SLOW_AGES = (1000,)
SHIPPED = "driftlock"


def figures(*, quick: bool) -> Iterator[Figure]:
    """Every change, base, age and detector."""
    seeds = range(QUICK_SEEDS if quick else SEEDS)
    for age in AGES:
        cells = [(base, change) for change in CHANGES for base in BASES if applies(base, change, age)]
        cases = {cell: [case(*cell, age, seed) for seed in seeds] for cell in cells}
        alarmed = {cell: [watch(one.times_ns, one.values).told for one in some] for cell, some in cases.items()}
        yield from _told(SHIPPED, age, cases, alarmed)
        for detector in (Driftlock(), RollingZ(), WindowedGaussian()):
            yield from _reference(detector, age, cases)
        if age in SLOW_AGES and not quick:
            yield from _reference(HalfSpaceTrees(), age, {cell: some[:SLOW_SEEDS] for cell, some in cases.items()})


def _reference(detector: Detector, age: int, cases: Mapping[tuple[str, str], Sequence[Case]]) -> Iterator[Figure]:
    scores = {cell: [detector.scores(one.times_ns, one.values) for one in some] for cell, some in cases.items()}
    clean = [score[age:] for cell, some in scores.items() if cell[1] == "nothing" for score in some]
    days = len(clean) * CHANGES["nothing"].points / DAY_POINTS
    threshold = threshold_for(clean, [np.zeros(len(one), dtype=np.int64) for one in clean], days, BUDGET)
    alarmed = {cell: [score >= threshold for score in some] for cell, some in scores.items()}
    yield from _told(f"{detector.name} {BUDGET:g}/day", age, cases, alarmed)


def _told(
    name: str, age: int, cases: Mapping[tuple[str, str], Sequence[Case]], alarmed: Mapping[tuple[str, str], Sequence[Booleans]]
) -> Iterator[Figure]:
    found: dict[str, list[int]] = {}
    for (base, change), some in cases.items():
        after = [alarm[one.start :] for one, alarm in zip(some, alarmed[base, change], strict=True)]
        if change == "nothing":
            false = sum(false_episodes(one, np.zeros(len(one), dtype=np.int64)) for one in after)
            about = (PROTOCOL, "nothing happens: false episodes a day", base, name)
            yield Figure(*about, f"age {age}", false / len(after), count=len(after))
            continue
        delays = [int(np.argmax(one)) for one in after if one.any()]
        found.setdefault(change, []).extend([len(delays), len(after)])
        yield _share(change, base, name, age, len(delays), len(after))
        late = (PROTOCOL, f"median points until found, age {age}", base, name)
        yield Figure(*late, change, float(median(delays)) if delays else np.nan, count=len(delays))
    for change, counts in found.items():
        yield _share(change, "all of these", name, age, sum(counts[::2]), sum(counts[1::2]))


def _share(change: str, base: str, name: str, age: int, hits: int, count: int) -> Figure:
    about = (PROTOCOL, f"{change}: found within {CHANGES[change].points} points", base, name)
    return Figure(*about, f"age {age}", hits / count, *wilson(hits / count, count), count=count)
