"""Thresholds that follow feedback: a rule over labelled findings, pure and deterministic, one small step at a time.

Where most labelled findings were false alarms, a threshold is moved towards where it would have kept most of them away and cost
few of the confirmed ones; where nearly all were confirmed, a threshold is moved so that more is told. Only labels of findings
that were made with the thresholds in force count: what was said about other thresholds says nothing about these, so the same
labels never move a threshold twice.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey
from driftlock.engine.lessons import Verdict
from driftlock.engine.limits import SECOND_NS
from driftlock.engine.profile import OVERRIDE_RANGES, BadOverride, Profile, custom
from driftlock.engine.verdict import NUMERIC, TRACED, Question

DAY_NS = 24 * 3600 * SECOND_NS

LABELS_MIN = 20
"""Fewer labels move nothing."""

LABEL_DAYS_MAX = 30
"""Older labels do not count."""

LABELS_MAX = 1000
"""Of more labels the newest count."""

STEP_SHARE_MAX = 0.10
"""A step moves a threshold by this share of it, at most."""

COOLDOWN_NS = DAY_NS
"""So long a stream's profile stays as it is after any change of it."""

FALSE_SHARE_MAX = 0.5
"""From more than this share of false alarms on fewer findings are told."""

FALSE_SHARE_MIN = 0.1
"""Up to this share of false alarms more findings are told."""

LOST_WEIGHT = 3
"""A confirmed finding that would not have been told weighs as much as so many false alarms that would not have been."""

DISTANCE, RARITY = "ncd_threshold", "p_value_threshold"
VALUES: Mapping[str, str] = MappingProxyType({DISTANCE: "ncd", RARITY: "p_value"})
"""What of a finding each threshold is held against."""

BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        DISTANCE: (0.05, 0.80),
        # From .001 on, if a profile could have so low a threshold.
        RARITY: (max(0.001, OVERRIDE_RANGES[RARITY][0]), 0.20),
    }
)
"""How far each threshold is moved, bounds included. Where somebody has set it beyond them it stays."""

DIGITS = 6


@dataclass(frozen=True, slots=True)
class Label:
    """A finding that somebody judged: its numbers, the thresholds that it was made with, and when that was (stored time)."""

    verdict: Verdict
    question: Question
    ncd: float
    p_value: float
    ncd_threshold: float
    p_value_threshold: float
    given_ns: int

    @property
    def of_lines(self) -> bool:
        """Whether its distance had to reach the profile's threshold; numbers and traces are judged by p-value alone."""
        return self.question not in NUMERIC and self.question not in TRACED


@dataclass(frozen=True, slots=True)
class Proposal:
    """Another profile, and why in one plain sentence."""

    profile: Profile
    member: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Move:
    """A threshold to go to, what that would have kept away, and what is gained by it."""

    member: str
    target: float
    kept_away: int
    lost: int

    @property
    def gain(self) -> int:
        return self.kept_away - LOST_WEIGHT * self.lost


def tuned_members(key: StreamKey) -> tuple[str, ...]:
    """The thresholds that mean something for a stream."""
    of_traces = key.signal is Signal.TRACES and key.service == TRACES_SERVICE
    return (RARITY,) if of_traces or key.signal is Signal.METRICS else (DISTANCE, RARITY)


def propose(profile: Profile, members: Sequence[str], labels: Iterable[Label], now_ns: int, changed_ns: int) -> Proposal | None:
    """The next step of a stream under `profile`, of which `members` may move; None = it stays as it is.

    `now_ns` is the wall clock, `changed_ns` when its profile was last changed (0 = never). A finding that was expected says
    nothing of thresholds. Labels may come in any order: equal ones give an equal answer.
    """
    if changed_ns and now_ns - changed_ns < COOLDOWN_NS:
        return None
    counted = [
        it
        for it in labels
        if it.verdict is not Verdict.EXPECTED and now_ns - LABEL_DAYS_MAX * DAY_NS <= it.given_ns and _made_with(it, profile)
    ]
    if len(counted) < LABELS_MIN:
        return None
    false = [it for it in counted if it.verdict is Verdict.FALSE_POSITIVE]
    said = f"{len(false)} of {len(counted)} judged findings of the last {LABEL_DAYS_MAX} days were false alarms"
    if len(false) > FALSE_SHARE_MAX * len(counted):
        return _fewer(profile, members, counted, said)
    if len(false) <= FALSE_SHARE_MIN * len(counted):
        return _more(profile, members, counted, said)
    return None


def _fewer(profile: Profile, members: Sequence[str], counted: Sequence[Label], said: str) -> Proposal | None:
    """A step to where the most false alarms would not have been told, and hardly any confirmed finding missed."""
    moves = [move for member in members for move in _moves(profile, member, counted)]
    best = max(moves, key=lambda it: (it.gain, -abs(it.target - getattr(profile, it.member)), it.member), default=None)
    if best is None or best.gain <= 0:
        return None
    before = getattr(profile, best.member)
    step = (
        min(best.target, before * (1 + STEP_SHARE_MAX))
        if best.member == DISTANCE
        else max(best.target, before * (1 - STEP_SHARE_MAX))
    )
    why = f"at {best.target:g} {best.kept_away} of them would not have been told, nor {best.lost} of the confirmed ones"
    return _proposal(profile, best.member, step, f"{said}: {why}")


def _more(profile: Profile, members: Sequence[str], counted: Sequence[Label], said: str) -> Proposal | None:
    """A step to where more is told: of the threshold that the labelled findings came closest to."""
    room = []
    for member in members:
        before, (low, high) = getattr(profile, member), BOUNDS[member]
        loose = before > low if member == DISTANCE else before < high
        if low <= before <= high and loose:
            near = [_nearness(it, member, before) for it in counted if member != DISTANCE or it.of_lines]
            room.append((sum(near) / len(near) if near else 0.0, member))
    if not room:
        return None
    _, member = max(room)
    before = getattr(profile, member)
    step = before * (1 - STEP_SHARE_MAX if member == DISTANCE else 1 + STEP_SHARE_MAX)
    return _proposal(profile, member, step, f"only {said}")


def _proposal(profile: Profile, member: str, step: float, said: str) -> Proposal | None:
    """The step within bounds; None where it is none, or where the profile can not have it."""
    before, (low, high) = getattr(profile, member), BOUNDS[member]
    after = float(f"{min(high, max(low, step)):.{DIGITS}g}")
    if after == before:
        return None
    try:
        changed = custom(profile, {member: after})
    except BadOverride:
        return None
    return Proposal(changed, member, before, after, f"{member} from {before:g} to {after:g}, because {said}")


def _moves(profile: Profile, member: str, counted: Sequence[Label]) -> list[_Move]:
    """Where a threshold may go to so that fewer findings are told: just beyond each of the labelled ones, within its bounds."""
    before, (low, high) = getattr(profile, member), BOUNDS[member]
    if not low <= before <= high:
        return []
    # The strictest are the last ones, whichever way the threshold goes.
    sign = 1.0 if member == DISTANCE else -1.0
    far = high if member == DISTANCE else low
    values = {
        verdict: sorted(
            sign * getattr(it, VALUES[member])
            for it in counted
            if it.verdict is verdict and (member != DISTANCE or it.of_lines)
        )
        for verdict in (Verdict.FALSE_POSITIVE, Verdict.CONFIRMED)
    }
    places = {sign * far, *(at for each in values.values() for at in each if sign * before < at < sign * far)}
    return [
        _Move(member, sign * at, *(bisect_left(values[verdict], at) for verdict in (Verdict.FALSE_POSITIVE, Verdict.CONFIRMED)))
        for at in sorted(places)
    ]


def _nearness(label: Label, member: str, threshold: float) -> float:
    """How close a finding came to not being told: 1 = it just was."""
    if member == DISTANCE:
        return min(1.0, threshold / label.ncd) if label.ncd > 0 else 1.0
    return min(1.0, label.p_value / threshold)


def _made_with(label: Label, profile: Profile) -> bool:
    same_distance = not label.of_lines or label.ncd_threshold == profile.ncd_threshold
    return same_distance and label.p_value_threshold == profile.p_value_threshold
