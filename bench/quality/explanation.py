"""Protocol 5: are the lines that a finding names the reason for it? Without them the stream should look normal again.

A changed stretch that our shipped decision flags is judged anew without those of its lines that the findings name (at most
20 % of it, the dearest first), and without as many chosen at random; later lines move up. Restored = none of the windows
that hold any of it is flagged any more. Of a change in how often a line comes, the lines named are that line's; where usual
lines are missing or in disorder there is nothing to take away, so those changes are not judged here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.quality.changes import CHANGES, Setting, Site
from bench.quality.figures import Figure
from bench.quality.measures import stratified_recall
from bench.quality.windows import BALANCED, Judged, Ours, profiles
from cbad_cy.tokenize import mask_line
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding

PROTOCOL = "5 explanation"
CHANGED = {
    "k different foreign lines": (2, 5),
    "k identical foreign lines": (2, 5),
    "rare line x10, k windows": (5, 10),
}
"""Change -> its sizes."""

NAMED_SHARE = 5  # at most one in so many lines is taken away
RESAMPLES = 1000


@dataclass(slots=True)
class Outcome:
    """One change on one stream: smallest p-values before and after, restored or not, how well changed lines were named.

    `verified`: the stretch's strongest finding says of itself that it was.
    """

    before: list[float] = field(default_factory=list)
    named: list[float] = field(default_factory=list)
    random: list[float] = field(default_factory=list)
    named_restored: list[bool] = field(default_factory=list)
    random_restored: list[bool] = field(default_factory=list)
    verified: list[bool] = field(default_factory=list)
    right: int = 0
    told: int = 0
    changed: int = 0


def named_lines(findings: Sequence[Finding], lines: Sequence[bytes], first: int) -> list[int]:
    """Places in `lines` (the first is event `first` of the stream) of what the findings name, dearest first, at most 20 %.

    A finding that counts all lines of one form in its window names that form, so also where the stretch has it elsewhere;
    one that counts fewer means this line.
    """
    stretch = same_form(lines)
    costs: dict[int, float] = {}
    for finding in findings:
        forms = same_form([line.encode() for line in finding.window_lines])
        for line in finding.lines:
            form = forms[line.event - finding.first_event]
            whole = line.count >= forms.count(form)
            places = [place for place, other in enumerate(stretch) if other == form] if whole else [line.event - first]
            for place in places:
                costs[place] = max(costs.get(place, 0.0), line.bits)
    inside = [place for place in costs if 0 <= place < len(lines)]
    return sorted(inside, key=lambda place: (-costs[place], place))[: len(lines) // NAMED_SHARE]


def same_form(texts: Sequence[bytes]) -> list[bytes]:
    """Forms as our detector masks them: lines with equal forms are told as one, with their count."""
    return [mask_line(text) for text in texts]


def ablate(branches: Callable[[], Ours], site: Site, lines: Sequence[bytes], out: Outcome) -> None:
    """Judge one changed stretch as it is, and if it is flagged, without the named lines and without random ones."""
    tail = site.lines[site.position + len(lines) :][: len(lines) + BALANCED.window_size]
    usual = site.lines[site.position : site.position + len(lines)]
    run = branches()
    windows = run.feed([*lines, *tail[: BALANCED.window_size - 1]])
    if not run.findings:
        return
    named = set(named_lines(run.findings, lines, site.position))
    changed = {place for place, (line, before) in enumerate(zip(lines, usual, strict=True)) if line != before}
    out.right += len(changed & named)
    out.told += len(named)
    out.changed += len(changed)
    out.verified.append(max(run.findings, key=lambda finding: finding.surprise).verified)
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
            for k in CHANGED[change]:
                lines = CHANGES[change](site, k)
                if lines is not None:
                    ablate(branches, site, lines, out.setdefault((change, k), Outcome()))
    return out


def figures(settings: Sequence[Setting], codecs: Sequence[str]) -> Iterator[Figure]:
    """Before and after, by codec."""
    for codec, profile in profiles(codecs).items():
        walked = [walk(profile, setting) for setting in settings]
        for change in CHANGED:
            for k in CHANGED[change]:
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
    yield Figure(*about, "says so itself", *stratified_recall([part.verified for part in parts], RESAMPLES, 5), count)
    told, right, changed = (sum(getattr(part, name) for part in parts) for name in ("told", "right", "changed"))
    yield Figure(*about, "precision", right / max(1, told), count=told)
    yield Figure(*about, "recall", right / max(1, changed), count=changed)
