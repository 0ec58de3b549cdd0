"""Open incidents: which flags tell one story, and when it is over.

Flags of one stream that are at most `incident_gap_windows` windows apart are one incident. So are flags of different streams
that are at most `JOIN_NS` of event time apart, in buckets, if they have a service in common, or a trace: a service that sent
what was found, or that traces make suspect. A stream of traces is of no service by itself, so its flags join by what they are
about only. Where a flag fits several incidents it joins that with which it shares the most traces, then that which suspects
the same services most, then the oldest. Two incidents never become one. Flags must be given in the order of their buckets.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from uuid import UUID

from driftlock.engine.correlation.budget import Budget, Peak
from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.correlation.story import Fit, Member, Story
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import IncidentState

JOIN_NS = 5 * MINUTE_NS
"""Flags of different streams with a service or a trace in common that are no farther apart are one incident."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What decides which stories are over: how far streams are, and whose flags are still to come.

    `pending` are flags that wait, `silent` streams whose silence was told and lasts, `clock_ns` the event time that live
    streams have passed by the clock.
    """

    progress: Mapping[UUID, Progress]
    pending: Sequence[Flag]
    silent: Set[UUID]
    clock_ns: int


@dataclass(slots=True)
class Behind:
    """Streams that may still say something: how many there are, and how far the slowest of them is."""

    count: int = 0
    watermark_ns: int = 0

    def add(self, watermark_ns: int) -> None:
        """One more stream."""
        self.watermark_ns = min(self.watermark_ns, watermark_ns) if self.count else watermark_ns
        self.count += 1


@dataclass(slots=True)
class Others:
    """The streams of a tenant: all of them, those of many services' traces, and those of each of some services."""

    everyone: Behind = field(default_factory=Behind)
    across: Behind = field(default_factory=Behind)
    services: dict[str, Behind] = field(default_factory=dict)

    def add(self, progress: Progress) -> None:
        """Count a stream."""
        self.everyone.add(progress.watermark_ns)
        if progress.across:
            self.across.add(progress.watermark_ns)
        elif progress.service in self.services:
            self.services[progress.service].add(progress.watermark_ns)

    def of(self, story: Story) -> Behind | None:
        """Those whose flags may join a story by the time; None when there is none but its only stream.

        Where it knows traces these are all: lines of any service may name one of them.
        """
        known = Behind()
        if story.exemplars:
            known = self.everyone
        else:
            for behind in (self.across, *(self.services[service] for service, _ in story.suspicion)):
                if behind.count:
                    known.add(behind.watermark_ns)
                    known.count += behind.count - 1
        return known if known.count > 1 or self.across.count else None


class Stories:
    """The open incidents of a tenant, by id in the order in which they began. Alerts are charged to `budget`."""

    def __init__(self, tenant_id: UUID, limits: Limits, budget: Budget) -> None:
        self.open: dict[UUID, Story] = {}
        self.budget = budget
        self._tenant_id = tenant_id
        self._limits = limits
        self._of_stream: dict[UUID, UUID] = {}

    def put(self, story: Story) -> None:
        """Continue with a story."""
        self.open[story.incident.incident_id] = story
        for stream_id, member in story.members.items():
            if not member.across:
                self._of_stream[stream_id] = story.incident.incident_id

    def live(self, silent: Set[UUID]) -> bool:
        """Whether the clock can end one of them."""
        return any(not story.historical and silent.isdisjoint(story.members) for story in self.open.values())

    def join(self, flag: Flag, bucket: int) -> list[IncidentRow]:
        """Take a flag; what became of incidents."""
        rows, story = self._of(flag, bucket)
        if story is None:
            story = Story.opened(self._tenant_id, flag)
        story.take(flag, bucket)
        self.put(story)
        told = self._charge(story, flag)
        return [*rows, IncidentRow(self._tenant_id, story.incident, (flag.finding_id,), story.alerted_ns, told)]

    def _of(self, flag: Flag, bucket: int) -> tuple[list[IncidentRow], Story | None]:
        """The story that a flag belongs to, if there is one, and the end of the one that it leaves behind."""
        rows = []
        buckets = JOIN_NS // self._limits.bucket_ns
        current = None if flag.across else self.open.get(self._of_stream.get(flag.stream_id, flag.finding_id))
        if current is not None:
            near = flag.window - current.members[flag.stream_id].window <= self._limits.incident_gap_windows
            if near or (flag.services and current.near(flag, bucket, buckets)):
                return [], current
            rows = self._leave(current, flag.stream_id)
        best: tuple[Fit, Story] | None = None
        for story in self.open.values():
            fit = story.fit(flag) if story.near(flag, bucket, buckets) else None
            if fit is not None and (best is None or fit > best[0]):
                best = fit, story
        return rows, None if best is None else best[1]

    def _leave(self, story: Story, stream_id: UUID) -> list[IncidentRow]:
        if len(story.members) == 1:
            return [self._close(story)]
        del story.members[stream_id], self._of_stream[stream_id]
        return []

    def _charge(self, story: Story, flag: Flag) -> bool:
        """Ask the budget for an incident's alert, once it has one more finding; True when it alerts just now.

        It is the flag's stream whose budget is asked: another one of the incident may have spent its own.
        """
        peak = Peak(flag.end_ns, story.strongest, story.incident.incident_id)
        if story.alerted_ns is not None:
            self.budget.grew(flag.stream_id, peak)
            return False
        if not self.budget.decide(flag.stream_id, peak, flag.alerts_per_day_max):
            return False
        story.alerted_ns = flag.end_ns
        story.incident = replace(story.incident, alerted=True)
        return True

    def end(self, moment: Moment) -> list[IncidentRow]:
        """Close what is over: its streams have gone on for long enough without a flag, or say nothing any more."""
        waiting = {flag.stream_id for flag in moment.pending}
        past = [
            story
            for story in self.open.values()
            if all(
                stream_id not in waiting and self._past(story, stream_id, member, moment)
                for stream_id, member in story.members.items()
            )
        ]
        if not past:
            return []
        others = Others(services={service: Behind() for story in past for service, _ in story.suspicion})
        for progress in moment.progress.values():
            others.add(progress)
        return [self._close(story) for story in past if not self._lingers(story, others.of(story), moment)]

    def _past(self, story: Story, stream_id: UUID, member: Member, moment: Moment) -> bool:
        """Whether no flag of a stream can join a story by its windows any more."""
        if stream_id in moment.silent:
            return False
        progress = moment.progress.get(stream_id)
        if progress is None:
            return not story.historical
        return member.across or progress.windows - 1 - member.window > self._limits.incident_gap_windows

    def _lingers(self, story: Story, behind: Behind | None, moment: Moment) -> bool:
        """Whether a flag of another stream, or one about its services or traces, may still join a story by its time."""
        if not len(story.suspicion) or behind is None:
            return False
        if any(story.fit(flag) for flag in moment.pending):
            return True
        passed_ns = behind.watermark_ns
        if not story.historical:
            passed_ns = max(passed_ns, moment.clock_ns)
        return (passed_ns // self._limits.bucket_ns - story.bucket) * self._limits.bucket_ns <= JOIN_NS

    def _close(self, story: Story) -> IncidentRow:
        del self.open[story.incident.incident_id]
        for stream_id, member in story.members.items():
            if not member.across:
                del self._of_stream[stream_id]
        closed = replace(story.incident, state=IncidentState.CLOSED)
        return IncidentRow(self._tenant_id, closed, (), story.alerted_ns)
