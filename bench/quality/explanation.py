"""Protocol 5: are the lines that a finding names the reason for it? Without them the stream should look normal again.

A stretch of 50 lines, k of them foreign, that our shipped decision flags is judged anew without those of its lines that the
findings name (at most 20 % of a window, the dearest first), and without as many chosen at random; later lines move up.
Restored = none of the windows that hold any of it is flagged any more.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.quality.changes import CHANGES, Site
from bench.quality.figures import Figure
from bench.quality.injections import Setting
from bench.quality.measures import stratified_recall
from bench.quality.windows import BALANCED, Judged, Ours, profiles
from cbad_cy.tokenize import mask_line
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding

PROTOCOL = "5 explanation"
SIZES = (2, 5)
CHANGED = ("k different foreign lines", "k identical foreign lines")
NAMED_MAX = BALANCED.window_size // 5
RESAMPLES = 1000


@dataclass(slots=True)
class Outcome:
    """One change on one stream: smallest p-values before and after, restored or not, how well foreign lines were named."""

    before: list[float] = field(default_factory=list)
    named: list[float] = field(default_factory=list)
    random: list[float] = field(default_factory=list)
    named_restored: list[bool] = field(default_factory=list)
    random_restored: list[bool] = field(default_factory=list)
    right: int = 0
    told: int = 0
    foreign: int = 0


def named_lines(findings: Sequence[Finding], limit: int = NAMED_MAX) -> list[int]:
    """Stream indices of the lines that an incident's findings name, with those counted under the same name, dearest first."""
    costs: dict[int, int] = {}
    for finding in findings:
        forms = same_form([line.encode() for line in finding.window_lines])
        for line in finding.lines:
            form = forms[line.event - finding.first_event]
            for place, other in enumerate(forms, finding.first_event):
                if other == form:
                    costs[place] = max(costs.get(place, 0), line.cost_bytes)
    return sorted(costs, key=lambda place: (-costs[place], place))[:limit]


def same_form(texts: Sequence[bytes]) -> list[bytes]:
    """Forms as our detector masks them: lines with equal forms are told as one, with their count."""
    return [mask_line(text) for text in texts]


def ablate(branches: Callable[[], Ours], site: Site, lines: Sequence[bytes], out: Outcome) -> None:
    """Judge one changed stretch as it is, and if it is flagged, without the named lines and without random ones."""
    tail = site.lines[site.position + len(lines) :][: 2 * BALANCED.window_size]
    usual = Counter(site.lines[site.position : site.position + len(lines)])
    run = branches()
    windows = run.feed([*lines, *tail[: BALANCED.window_size - 1]])
    if not run.findings:
        return
    named = {place - site.position for place in named_lines(run.findings)} & set(range(len(lines)))
    foreign = {place for place, line in enumerate(lines) if line not in usual}
    out.right += len(foreign & named)
    out.told += len(named)
    out.foreign += len(foreign)
    chance = set(site.rng("ablation").sample(range(len(lines)), len(named)))
    out.before.append(lowest(windows))
    for dropped, values, restored in (
        (named, out.named, out.named_restored),
        (chance, out.random, out.random_restored),
    ):
        kept = [line for place, line in enumerate(lines) if place not in dropped]
        again = branches().feed([*kept, *tail[: len(dropped) + BALANCED.window_size - 1]])
        values.append(lowest(again))
        restored.append(not any(window.flagged for window in again))


def lowest(windows: Sequence[Judged]) -> float:
    """The smallest p-value of some windows."""
    return min(1.0 if window.p_value is None else window.p_value for window in windows)


def walk(profile: Profile, setting: Setting) -> dict[tuple[str, int], Outcome]:
    """All positions of one stream."""
    run, at = Ours(profile), 0
    out: dict[tuple[str, int], Outcome] = {}
    for site in setting.sites():
        run.feed(setting.lines[at : site.position])
        at, branches = site.position, run.branches()
        for change in CHANGED:
            for k in SIZES:
                lines = CHANGES[change](site, k)
                if lines is not None:
                    ablate(branches, site, lines, out.setdefault((change, k), Outcome()))
    return out


def figures(settings: Sequence[Setting], codecs: Sequence[str]) -> Iterator[Figure]:
    """Before and after, by codec."""
    for codec, profile in profiles(codecs).items():
        walked = [walk(profile, setting) for setting in settings]
        for change in CHANGED:
            for k in SIZES:
                parts = [outcomes[change, k] for outcomes in walked if (change, k) in outcomes]
                yield from _told(f"{change}, k={k}", f"driftlock {codec}", parts)


def _told(condition: str, detector: str, parts: Sequence[Outcome]) -> Iterator[Figure]:
    about = (PROTOCOL, "flagged, then without some lines", condition, detector)
    count = sum(len(part.before) for part in parts)
    if not count:
        return
    for measure, column in (("median p", "before"), ("p, without named", "named"), ("p, without random", "random")):
        yield Figure(*about, measure, median(value for part in parts for value in getattr(part, column)), count=count)
    for measure, column in (("normal without named", "named_restored"), ("without random", "random_restored")):
        yield Figure(*about, measure, *stratified_recall([getattr(part, column) for part in parts], RESAMPLES, 5), count)
    told, right, foreign = (sum(getattr(part, name) for part in parts) for name in ("told", "right", "foreign"))
    yield Figure(*about, "precision", right / max(1, told), count=told)
    yield Figure(*about, "recall", right / max(1, foreign), count=foreign)
