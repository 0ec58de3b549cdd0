"""Open incidents: which flags tell one story, and when it is over.

Flags of one stream that are at most `incident_gap_windows` windows apart are one incident. So are flags of different streams
that are at most `JOIN_NS` of event time apart, in buckets, if they have a trace in common, or suspect the same service with
some weight (`Suspicion.accepts`): one that sent what was found, or that traces blame. A stream of traces is of no service by
itself, so its flags join by what they are about only. Where a flag fits several incidents it joins that with which it shares
the most traces, then that which suspects the same services most, then the oldest. Two incidents never become one. Flags must
be given in the order of their buckets.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from uuid import UUID

from driftlock.engine.correlation.budget import Budget, Peak
from driftlock.engine.correlation.flag import Flag
from driftlock.engine.correlation.mentions import Mentions
from driftlock.engine.correlation.pending import Pending
from driftlock.engine.correlation.story import Fit, Member, Story
from driftlock.engine.correlation.streams import Streams
from driftlock.engine.correlation.suspicion import blame_shares
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import IncidentState, content_id

JOIN_NS = 5 * MINUTE_NS
"""Flags of different streams with a service or a trace in common that are no farther apart are one incident."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What decides which stories are over: how far streams are, and whose flags are still to come.

    `pending` are flags that wait, `silent` streams whose silence was told and lasts, `clock_ns` the event time that live
    streams have passed by the clock.
    """

    streams: Streams
    pending: Pending
    silent: Set[UUID]
    clock_ns: int


class Stories:
    """The open incidents of a tenant, by id in the order in which they began. Alerts are charged to `budget`."""

    def __init__(self, tenant_id: UUID, limits: Limits, budget: Budget) -> None:
        self.open: dict[UUID, Story] = {}
        self.budget = budget
        self._tenant_id = tenant_id
        self._limits = limits
        self._of_stream: dict[UUID, UUID] = {}
        self._mentions = Mentions()

    def put(self, story: Story) -> None:
        """Continue with a story."""
        self.open[story.incident.incident_id] = story
        self._mentions.put(story)
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
            story = Story.begun(self._tenant_id, flag, bucket)
        story.take(flag, bucket)
        self.open[story.incident.incident_id] = story
        if not flag.across:
            self._of_stream[flag.stream_id] = story.incident.incident_id
        self._mentions.put(story)
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
        said = blame_shares(flag)
        for story in map(self.open.__getitem__, self._mentions.of(flag.names)):
            fit = story.fit(flag, bucket, said) if story.near(flag, bucket, buckets) else None
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

        It is the flag's stream whose budget is asked: another one of the incident may have spent its own. A stream of traces
        has a budget for each service that its flags blame first, so that a noisy one spends its own only.
        """
        ledger_id = flag.stream_id
        if flag.across and flag.blamed:
            ledger_id = content_id(flag.stream_id.bytes + flag.blamed[0].service.encode())
        peak = Peak(flag.end_ns, story.strongest, story.incident.incident_id)
        if story.alerted_ns is not None:
            self.budget.grew(ledger_id, peak)
            return False
        if not self.budget.decide(ledger_id, peak, flag.alerts_per_day_max):
            return False
        story.alerted_ns = flag.end_ns
        story.incident = replace(story.incident, alerted=True)
        return True

    def concerned(self, stream_ids: Iterable[UUID], names: Iterable[str]) -> list[Story]:
        """Those that may be over because streams have gone on, or because flags that name something wait no more."""
        own = (self._of_stream[stream_id] for stream_id in stream_ids if stream_id in self._of_stream)
        return [self.open[it] for it in dict.fromkeys((*own, *self._mentions.of(names)))]

    def end(self, moment: Moment, among: Iterable[Story] | None = None) -> list[IncidentRow]:
        """Close what is over: its streams have gone on for long enough without a flag, or say nothing any more.

        Only those of `among` are looked at (None = all).
        """
        over = [
            story
            for story in (self.open.values() if among is None else among)
            if all(self._past(story, stream_id, member, moment) for stream_id, member in story.members.items())
            and not self._lingers(story, moment)
        ]
        return [self._close(story) for story in over]

    def _past(self, story: Story, stream_id: UUID, member: Member, moment: Moment) -> bool:
        """Whether no flag of a stream can join a story by its windows any more."""
        if stream_id in moment.silent or moment.pending.of_stream(stream_id):
            return False
        progress = moment.streams.progress.get(stream_id)
        if progress is None:
            return not story.historical
        return member.across or progress.windows - 1 - member.window > self._limits.incident_gap_windows

    def _lingers(self, story: Story, moment: Moment) -> bool:
        """Whether a flag of another stream, or one about its services or traces, may still join a story by its time."""
        behind = moment.streams.behind(story) if len(story.suspicion) else None
        if behind is None:
            return False
        if any(map(moment.pending.name, story.names)):
            return True
        passed_ns = behind.watermark_ns
        if not story.historical:
            passed_ns = max(passed_ns, moment.clock_ns)
        return (passed_ns // self._limits.bucket_ns - story.bucket) * self._limits.bucket_ns <= JOIN_NS

    def _close(self, story: Story) -> IncidentRow:
        del self.open[story.incident.incident_id]
        self._mentions.remove(story.incident.incident_id)
        for stream_id, member in story.members.items():
            if not member.across:
                del self._of_stream[stream_id]
        closed = replace(story.incident, state=IncidentState.CLOSED)
        return IncidentRow(self._tenant_id, closed, (), story.alerted_ns)
