"""The NAB protocol: published scores from stored results first (the proof of the scorer), then detectors on the same points."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench.metrics import corpora
from bench.metrics.detectors import Detector, RollingZ, WindowedGaussian
from bench.metrics.kept import Kept
from bench.metrics.nab import PROFILES, Corpus, Result
from bench.metrics.ours import by_channel
from bench.metrics.peers import FOREST_VERSION, TREES_VERSION, CutForest, HalfSpaceTrees
from bench.quality.figures import Figure
from cbad_cy.series import ALARM_LEVEL

Floats = NDArray[np.float64]
PROTOCOL = "7 NAB"
BY_LABELS = "threshold chosen by the labels, as NAB does"
IN_ADVANCE = "one threshold, fixed in advance"
TOLERANCE = 0.1
SHORT = {"standard": "standard", "reward_low_FP_rate": "low FP", "reward_low_FN_rate": "low FN"}
LEVELS = tuple(round(1.5 + 0.05 * step, 2) for step in range(71))

# NAB 1.1's final_results.json and thresholds.json: (score, threshold) by profile
PUBLISHED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "numenta": {
        "standard": (70.10105611943965, 0.5421876907348634),
        "reward_low_FP_rate": (63.11684160219828, 0.5751955032348636),
        "reward_low_FN_rate": (74.3202443095115, 0.5421876907348634),
    },
    "windowedGaussian": {
        "standard": (39.649523496077585, 1.0),
        "reward_low_FP_rate": (20.86798582474138, 1.0),
        "reward_low_FN_rate": (47.4100271583046, 1.0),
    },
    "randomCutForest": {
        "standard": (51.717054557073276, 0.4539184570312501),
        "reward_low_FP_rate": (38.360772142413786, 0.5751955032348636),
        "reward_low_FN_rate": (59.74876476310345, 0.44804840087890635),
    },
}


def reproduction(
    corpus: Corpus, names: Sequence[str], stored: Mapping[str, Mapping[str, Floats]]
) -> Iterator[dict[str, object]]:
    """Published score, ours at the published threshold and at the threshold that our sweep finds best."""
    for detector, profiles in PUBLISHED.items():
        scores = [stored[detector][name] for name in names]
        for profile, (published, threshold) in profiles.items():
            best = corpus.best(scores, PROFILES[profile])
            same = corpus.at_threshold(scores, threshold, PROFILES[profile])
            passed = abs(best.score - published) <= TOLERANCE and abs(same.score - published) <= 1e-6
            yield {
                "detector": detector,
                "profile": profile,
                "published": published,
                "at its threshold": same.score,
                "at our best": best.score,
                "windows found": best.windows_found,
                "false points": best.false_points,
                "passed": "pass" if passed else "FAIL",
            }


def references(*, quick: bool) -> list[Detector]:
    """What is scored beside ours; the forest takes a quarter of an hour when its scores are not kept yet."""
    fast: list[Detector] = [RollingZ(), WindowedGaussian()]
    return fast if quick else [*fast, Kept(HalfSpaceTrees(), TREES_VERSION), Kept(CutForest(), FOREST_VERSION)]


def _told(condition: str, detector: str, profile: str, result: Result) -> Figure:
    about = (PROTOCOL, condition, "116 windows", detector)
    return Figure(*about, SHORT[profile], result.score, count=result.windows)


def _all_told(condition: str, detector: str, results: Mapping[str, Result]) -> Iterable[Figure]:
    for profile, result in results.items():
        yield _told(condition, detector, profile, result)
    standard = results["standard"]
    about = (PROTOCOL, condition, "116 windows", detector)
    yield Figure(*about, "windows found", standard.windows_found, count=standard.windows)
    yield Figure(*about, "false points", standard.false_points, count=standard.windows)


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """All detectors; ours at its fixed level, and at the levels that the labels like best: both channels, and each alone."""
    labelled, series = corpora.nab(data)
    corpus = Corpus(series)
    levels = (ALARM_LEVEL,) if quick else tuple(sorted({*LEVELS, ALARM_LEVEL}))
    ours: dict[str, dict[float, dict[str, Result]]] = {}
    for level in levels:
        for channel, alarmed in by_channel(labelled, level).items():
            alarms = [one.astype(np.float64) for one in alarmed]
            found = {name: corpus.at_threshold(alarms, 1.0, profile) for name, profile in PROFILES.items()}
            ours.setdefault(channel, {})[level] = found
    for channel, by_level in ours.items():
        yield from _all_told(IN_ADVANCE, channel, by_level[ALARM_LEVEL])
    for channel, name in product(ours, PROFILES) if not quick else ():
        level = max(levels, key=lambda one: ours[channel][one][name].score)
        yield _told(BY_LABELS, channel, name, ours[channel][level][name])
        about = (PROTOCOL, BY_LABELS, "116 windows", channel)
        yield Figure(*about, f"level {SHORT[name]}", level, count=corpus.windows)
    for detector in references(quick=quick):
        scores = [detector.scores(one.times_ns, one.values) for one in labelled]
        best = {name: corpus.best(scores, profile) for name, profile in PROFILES.items()}
        yield from _all_told(BY_LABELS, detector.name, best)


def prove(data: ModuleType) -> list[dict[str, object]]:
    """The rows of the reproduction."""
    _, series = corpora.nab(data)
    rows = list(reproduction(Corpus(series), [one.name for one in series], corpora.nab_results(data)))
    if any(row["passed"] != "pass" for row in rows):
        print("the scorer does not reproduce the published scores", file=sys.stderr)
    return rows
