"""Protocols 3 and 4: recall of changes injected at known positions, at 1 and 10 alarms per 1,000 windows of the clean run.

Two budgets, because scores that are counts can be unable to keep the small one and good at the other.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import isfinite
from types import ModuleType

from bench.quality.changes import CHANGES, INSTANCE_CHANGES, SIZES, Setting, Site
from bench.quality.figures import Figure
from bench.quality.measures import empirical_threshold, stratified_recall
from bench.quality.references import WINDOW_REFERENCES
from bench.quality.streams import SYSTEMS, hdfs_normal, masked, prolonged, system
from bench.quality.windows import BALANCED, Judged, Ours, Run, profiles

BUDGETS = (1, 10)  # alarmed windows per 1,000
PROLONGED_EVENTS = 16_000
HDFS_EVENTS = 100_000
SETTLED_EVENTS = 5000
ROOM_EVENTS = 2000  # at the end of a stream, for the longest change
POSITIONS = 300
RESAMPLES = 1000
BLOCKS_OF_POSITIONS = 60  # of POSITIONS; the rest is divided among the prolonged systems
SHIPPED = "decision"
PROTOCOL = "3 injections"
INSTANCE_PROTOCOL = "4 one instance of 50"
PROLONGED = "5 systems, prolonged"
Found = dict[tuple[str, str, int, int], list[bool]]
"""(detector, change, k, budget) -> found or not at each position where the change was possible."""


def settings(data: ModuleType, positions: int) -> list[Setting]:
    """HDFS as it came and the other systems prolonged; the foreign lines of each are those of all others, one of each form."""
    raw = {"HDFS": hdfs_normal(data, HDFS_EVENTS)} | {name: system(data, name) for name in SYSTEMS}
    found = []
    for seed, (name, lines) in enumerate(raw.items()):
        known = set(masked(lines))
        foreign = {}
        for other, theirs in raw.items():
            if other != name:
                foreign |= dict(zip(masked(theirs[:2000]), theirs[:2000], strict=True))
        aliens = [line for form, line in foreign.items() if form not in known]
        whole = lines if name == "HDFS" else prolonged(lines, PROLONGED_EVENTS, seed)
        share = BLOCKS_OF_POSITIONS / POSITIONS if name == "HDFS" else (1 - BLOCKS_OF_POSITIONS / POSITIONS) / len(SYSTEMS)
        places = random.Random(seed).sample(range(SETTLED_EVENTS, len(whole) - ROOM_EVENTS), round(share * positions))
        found.append(Setting(name, whole, aliens, sorted(places)))
    return found


def branch_windows(branch: Run, site: Site, changed: Sequence[bytes]) -> list[Judged]:
    """All windows that hold a changed line, when the stream goes on from where as many lines have passed."""
    after = site.position + len(changed)
    return branch.feed([*changed, *site.lines[after : after + BALANCED.window_size - 1]])


def walk(run: Run, setting: Setting) -> tuple[list[Judged], dict[tuple[str, int], list[list[Judged]]]]:
    """The clean run's windows after it settled, and the windows of every change at every position."""
    clean: list[Judged] = []
    changed: dict[tuple[str, int], list[list[Judged]]] = {}
    at = 0
    for site in setting.sites():
        clean += run.feed(setting.lines[at : site.position])
        at = site.position
        branches = run.branches()
        for name, change in CHANGES.items():
            for k in SIZES:
                lines = change(site, k)
                if lines is not None:
                    changed.setdefault((name, k), []).append(branch_windows(branches(), site, lines))
    clean += run.feed(setting.lines[at:])
    return [window for window in clean if window.end > SETTLED_EVENTS], changed


def detect(make: Callable[[], Run], setting: Setting, shipped_name: str | None) -> Found:
    """Every change at every position: whether any window that holds it has a score above the clean stream's own threshold."""
    run = make()
    clean, changed = walk(run, setting)
    found: Found = {}
    for statistic, name in enumerate(run.names):
        scores = [window.scores[statistic] for window in clean if isfinite(window.scores[statistic])]
        for budget in BUDGETS:
            limit = empirical_threshold(scores, budget / 1000)
            for (change, k), sites in changed.items():
                above = [any(window.scores[statistic] > limit for window in windows) for windows in sites]
                found[name, change, k, budget] = above
    if shipped_name is not None:
        for (change, k), sites in changed.items():
            flagged = [any(window.flagged for window in windows) for windows in sites]
            found |= {(shipped_name, change, k, budget): flagged for budget in BUDGETS}  # it has its own, beside both
    return found


def figures(known: Sequence[Setting], codecs: Sequence[str]) -> Iterator[Figure]:
    """Recall of every change by every detector, on HDFS and on the prolonged systems."""
    makers: list[tuple[Callable[[], Run], str | None]] = [
        (lambda profile=profile: Ours(profile), f"driftlock {codec} {SHIPPED}") for codec, profile in profiles(codecs).items()
    ]
    makers += [(reference, None) for reference in WINDOW_REFERENCES]
    parts = [
        ("HDFS" if setting.name == "HDFS" else PROLONGED, detect(make, setting, shipped_name))
        for make, shipped_name in makers
        for setting in known
    ]
    yield from recalls(parts)


def recalls(parts: Sequence[tuple[str, Found]]) -> Iterator[Figure]:
    """Recall by change, budget, data, detector and k; a shipped decision stands beside both budgets and keeps neither."""
    detectors = dict.fromkeys(key[0] for _, found in parts for key in found)
    names = dict.fromkeys(name for name, _ in parts)
    for change, budget, data, detector, k in product(CHANGES, BUDGETS, names, detectors, SIZES):
        key = (detector, change, k, budget)
        groups = [found[key] for name, found in parts if name == data and key in found]
        share, low, high = stratified_recall(groups, RESAMPLES, seed=4)
        protocol = INSTANCE_PROTOCOL if change in INSTANCE_CHANGES else PROTOCOL
        condition = f"{change}; {budget}/1000 alarms"
        yield Figure(protocol, condition, data, detector, f"k={k}", share, low, high, sum(map(len, groups)))
