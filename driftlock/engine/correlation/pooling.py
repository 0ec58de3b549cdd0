"""Many series, one finding: the weak evidence of a resource's series, added up over all streams of a tenant, minute by minute.

For each resource (pod, host) and minute its streams say how much its series were unusual (`cbad_cy.pooled`). The mean of the
newest two minutes, less what most other resources show in the same minute (a load that changes for all is no resource's
fault), is compared with the resource's own past. It alarms where p times the number of resources is at most
10^-`LEVEL_DIGITS`: so the rate of false alarms is about the same for tenants of one resource and of a thousand.

The constants of this module and of the kernel were chosen on two public days of injected faults at once, so figures on either
are optimistic; docs/adr/0011-pooling.md has them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from cbad_cy.pooled import digits_of, share_of
from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.correlation.past_sums import PastSums
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.fold import Summary
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.numbers.finding import SCORE_THRESHOLD, NumberContext, Said, number_finding, series_finding_id
from driftlock.engine.numbers.sentence import together_sentence
from driftlock.engine.ports import FindingRow
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.verdict import Finding, Question

LEVEL_DIGITS = 4.0
"""An alarm has a probability of at most 10^-4 in a minute, all resources taken together, if pasts are like the present."""

NAMES_FROM_DIGITS = 3.0
"""A minute that says less itself is not told, whatever the one before said: there would be nobody to name."""

PEERS_MIN = 3
"""So many other resources have to say something in a minute before what they have in common is taken off."""

RECENT_MINUTES = 10
"""The minute before counts unless it is longer ago: resources may say something every few minutes only."""

AGAIN_MINUTES = 5
AGAIN_DIGITS = 1.0
"""What is told is told again after so many minutes, or when it has become stronger by so many digits."""

NAMED_MAX = 10
WAITING_MAX = 50_000
"""Minutes of resources that may wait for slower streams; beyond, all of them are closed."""

BITS_A_DIGIT = 3.321928094887362


@dataclass(slots=True)
class Minute:
    """What was said of one resource in one minute. `shares`: by stream, the digits, and the stream's number of the minute."""

    points: int = 0
    series: int = 0
    odd: int = 0
    digits: float = 0.0
    strongest: tuple[SeriesEvidence, ...] = ()
    shares: dict[UUID, tuple[float, int]] = field(default_factory=dict)

    def add(self, stream_id: UUID, summary: Summary) -> None:
        """Digits are multiples of 1/1024, so that no order of adding them changes a sum."""
        self.points += summary.points
        self.series += summary.series
        self.odd += summary.odd
        self.digits += summary.digits
        known, window = self.shares.get(stream_id, (0.0, 0))
        self.shares[stream_id] = known + summary.digits, max(window, summary.window)
        named = sorted((*self.strongest, *summary.strongest), key=lambda it: (-it.bits, it.series, it.instance))
        self.strongest = tuple(named[:NAMED_MAX])


@dataclass(slots=True)
class Resource:
    """The past of a resource: its newest minute with what was said in it, and when what was told of it last."""

    minute: int = 0
    digits: float = 0.0
    told_minute: int = 0
    told_digits: float = 0.0
    past: PastSums = field(default_factory=PastSums)


@dataclass(frozen=True, slots=True)
class Together:
    """A finding about a resource, and the flag by which it joins the incidents of its service."""

    row: FindingRow
    flag: Flag


class Pool:
    """All resources of a tenant, and the minutes that wait until every stream has passed them."""

    def __init__(self, tenant_id: UUID, limits: Limits) -> None:
        self.waiting: dict[int, dict[str, Minute]] = {}
        self.resources: dict[str, Resource] = {}  # whoever was seen last stands last
        self.count = 0
        self._tenant_id = tenant_id
        self._limits = limits

    @property
    def full(self) -> bool:
        """Whether so much waits that it has to be closed."""
        return self.count > WAITING_MAX

    def take(self, stream_id: UUID, summaries: Iterable[Summary], progress: Progress) -> None:
        """Let minutes wait. A sender without a name is its service."""
        for summary in summaries:
            resource = summary.resource or progress.service
            known = self.waiting.get(summary.minute, {}).get(resource)
            if known is None:
                known = Minute()
                self.put(summary.minute, resource, known)
            known.add(stream_id, summary)

    def put(self, minute: int, resource: str, said: Minute) -> None:
        """Let what was said of a resource in a minute wait."""
        self.waiting.setdefault(minute, {})[resource] = said
        self.count += 1

    def close(self, until: int | None, streams: dict[UUID, Progress]) -> list[Together]:
        """Judge all minutes before `until` (None = all that wait), in order."""
        found = []
        for minute in sorted(minute for minute in self.waiting if until is None or minute < until):
            said = self.waiting.pop(minute)
            self.count -= len(said)
            found.extend(self._judge(minute, said, streams))
        return found

    def _judge(self, minute: int, said: dict[str, Minute], streams: dict[UUID, Progress]) -> list[Together]:
        sums = {}
        for name in sorted(said):
            resource = self.resources.pop(name, None) or Resource()
            self.resources[name] = resource
            if minute > resource.minute:
                recent = resource.digits if minute - resource.minute <= RECENT_MINUTES else 0.0
                sums[name] = (said[name].digits + recent) / 2
        while len(self.resources) > self._limits.pool_resources_max:
            del self.resources[next(iter(self.resources))]
        found = []
        usual = _medians_of_others(sums)
        for name, total in sums.items():
            if name not in self.resources:
                continue
            resource = self.resources[name]
            before = resource.minute if minute - resource.minute <= 1 and resource.digits >= NAMES_FROM_DIGITS else minute
            resource.minute, resource.digits = minute, said[name].digits
            digits = resource.past.judge(max(0.0, total - usual[name]))
            if self._told(resource, minute, digits, said[name]):
                found.append(self._together(name, before, minute, said[name], digits, streams))
        return found

    @property
    def level_digits(self) -> float:
        """The digits from which on a resource alarms."""
        return LEVEL_DIGITS + digits_of(1 / max(1, len(self.resources)))

    def _told(self, resource: Resource, minute: int, digits: float, said: Minute) -> bool:
        if digits < self.level_digits or said.digits < NAMES_FROM_DIGITS or not said.strongest:
            return False
        if minute - resource.told_minute < AGAIN_MINUTES and digits < resource.told_digits + AGAIN_DIGITS:
            return False
        resource.told_minute, resource.told_digits = minute, digits
        return True

    def _together(
        self, name: str, before: int, minute: int, said: Minute, digits: float, streams: dict[UUID, Progress]
    ) -> Together:
        """The finding belongs to the stream that says most of it."""
        names = {stream_id: streams[stream_id].stream if stream_id in streams else "" for stream_id in said.shares}
        stream_id = min(said.shares, key=lambda it: (-said.shares[it][0], names[it], it))
        finding = self._finding(name, before, minute, said, digits, names[stream_id], said.shares[stream_id][1])
        row = FindingRow(self._tenant_id, stream_id, series_finding_id(stream_id, finding), finding)
        progress = streams.get(stream_id, Progress(0, 0, 0))
        flag = Flag(
            stream_id=stream_id,
            stream=finding.stream,
            seq=0,
            window=finding.window,
            start_ns=finding.start_ns,
            end_ns=finding.end_ns,
            ncd=finding.ncd,
            p_value=finding.p_value,
            finding_id=row.finding_id,
            title=finding.explanation,
            historical=progress.historical,
            surprise=finding.surprise,
            alerts_per_day_max=progress.alerts_per_day_max,
            question=finding.question.value,
            service=progress.service,
        )
        return Together(row, flag)

    def _finding(self, name: str, before: int, minute: int, said: Minute, digits: float, stream: str, window: int) -> Finding:
        level = self.level_digits
        sentence = together_sentence(
            name,
            said.strongest,
            odd=said.odd,
            series=said.series,
            alone=any(it.score >= SCORE_THRESHOLD for it in said.strongest),
        )
        context = NumberContext(
            stream=stream,
            profile=PROFILES[DEFAULT_PROFILE],
            p_value_threshold=share_of(level),
            seed=0,
            window=window,
            event=0,
            receive_timed=False,
        )
        verdict = Said(
            question=Question.TOGETHER,
            start_ns=before * MINUTE_NS,
            end_ns=(minute + 1) * MINUTE_NS - 1,
            p_value=share_of(digits),
            score=digits / (digits + level),
            surprise=digits * BITS_A_DIGIT,
            sentence=sentence,
            calibration_reason="the sum is compared with those of earlier minutes of the same resource",
        )
        return number_finding(verdict, context, series=said.strongest, subject=name)


def _medians_of_others(sums: dict[str, float]) -> dict[str, float]:
    """For each resource the (lower) median of all others, 0 when there are too few of them."""
    if len(sums) <= PEERS_MIN:
        return dict.fromkeys(sums, 0.0)
    ranked = sorted(sums.values())
    # Taking one out of n moves the lower median of the rest to one of two places.
    middle = (len(ranked) - 2) // 2
    low, high = ranked[middle], ranked[middle + 1]
    return {name: high if total <= low else low for name, total in sums.items()}
