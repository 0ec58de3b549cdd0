"""Open incidents: which flags tell one story, and when it is over.

Flags of one stream that are at most `incident_gap_windows` windows apart are one incident. So are flags of streams of the same
service (whatever their signals) that are at most `incident_join_ns` of event time apart, in buckets. Flags must be given in
the order of their buckets.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from uuid import UUID

from driftlock.engine.budget import Budget, Peak, Strength
from driftlock.engine.flag import Flag, Progress
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import Incident, IncidentState, content_id

JOIN_NS = 5 * MINUTE_NS
"""Flags of different streams of a service that are no farther apart are one incident."""


@dataclass(slots=True)
class Member:
    """A stream in an incident: the window of its newest flag, and the bucket of event time in which it was."""

    window: int
    bucket: int


@dataclass(slots=True)
class Story:
    """An open incident. `members` are the streams whose further flags may join it by their windows."""

    incident: Incident
    service: str
    historical: bool
    strongest: Strength
    alerted_ns: int | None = None
    members: dict[UUID, Member] = field(default_factory=dict)

    @property
    def bucket(self) -> int:
        """The bucket of its newest flag."""
        return max(member.bucket for member in self.members.values())

    def near(self, flag: Flag, bucket: int, buckets: int) -> bool:
        """Whether another stream of the service was flagged at most so many buckets from there."""
        return bool(flag.service) and any(
            abs(bucket - member.bucket) <= buckets for stream_id, member in self.members.items() if stream_id != flag.stream_id
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """What decides which stories are over: how far streams are, and whose flags are still to come.

    `pending` are streams and services with waiting flags, `silent` streams whose silence was told and lasts, `clock_ns` the
    event time that live streams have passed by the clock.
    """

    progress: Mapping[UUID, Progress]
    pending: Set[UUID | str]
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

    def put(self, story: Story) -> None:
        """Continue with a story."""
        self.open[story.incident.incident_id] = story
        self._of_stream.update(dict.fromkeys(story.members, story.incident.incident_id))

    def live(self, silent: Set[UUID]) -> bool:
        """Whether the clock can end one of them."""
        return any(not story.historical and silent.isdisjoint(story.members) for story in self.open.values())

    def join(self, flag: Flag, bucket: int) -> list[IncidentRow]:
        """Take a flag; what became of incidents."""
        rows, story = self._of(flag, bucket)
        if story is None:
            story = Story(_opened(self._tenant_id, flag), flag.service, flag.historical, flag.strength)
        else:
            _grow(story, flag)
        known = story.members.get(flag.stream_id)
        window = flag.window if known is None else max(known.window, flag.window)
        story.members[flag.stream_id] = Member(window, bucket if known is None else max(known.bucket, bucket))
        self.put(story)
        told = self._charge(story, flag)
        return [*rows, IncidentRow(self._tenant_id, story.incident, (flag.finding_id,), story.alerted_ns, told)]

    def _of(self, flag: Flag, bucket: int) -> tuple[list[IncidentRow], Story | None]:
        """The story that a flag belongs to, if there is one, and the end of the one that it leaves behind."""
        rows = []
        buckets = JOIN_NS // self._limits.bucket_ns
        current = self.open.get(self._of_stream.get(flag.stream_id, flag.finding_id))
        if current is not None:
            near = flag.window - current.members[flag.stream_id].window <= self._limits.incident_gap_windows
            if near or current.near(flag, bucket, buckets):
                return [], current
            rows = self._leave(current, flag.stream_id)
        for story in self.open.values():
            if story.service == flag.service and story.near(flag, bucket, buckets):
                return rows, story
        return rows, None

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
        past = [
            story
            for story in self.open.values()
            if all(self._past(story, stream_id, member, moment) for stream_id, member in story.members.items())
        ]
        siblings: dict[str, list[Progress]] = {story.service: [] for story in past if story.service}
        if siblings:
            for progress in moment.progress.values():
                if progress.service in siblings:
                    siblings[progress.service].append(progress)
        return [self._close(story) for story in past if not self._lingers(story, siblings.get(story.service, []), moment)]

    def _past(self, story: Story, stream_id: UUID, member: Member, moment: Moment) -> bool:
        """Whether no flag of a stream can join a story by its windows any more."""
        if stream_id in moment.pending or stream_id in moment.silent:
            return False
        progress = moment.progress.get(stream_id)
        if progress is None:
            return not story.historical
        return progress.windows - 1 - member.window > self._limits.incident_gap_windows

    def _lingers(self, story: Story, siblings: list[Progress], moment: Moment) -> bool:
        """Whether a flag of another stream of its service may still join a story by its time."""
        if not story.service or len(siblings) < 2:
            return False
        if story.service in moment.pending:
            return True
        passed_ns = min(progress.watermark_ns for progress in siblings)
        if not story.historical:
            passed_ns = max(passed_ns, moment.clock_ns)
        return (passed_ns // self._limits.bucket_ns - story.bucket) * self._limits.bucket_ns <= JOIN_NS

    def _close(self, story: Story) -> IncidentRow:
        del self.open[story.incident.incident_id]
        for stream_id in story.members:
            del self._of_stream[stream_id]
        closed = replace(story.incident, state=IncidentState.CLOSED)
        return IncidentRow(self._tenant_id, closed, (), story.alerted_ns)


def _opened(tenant_id: UUID, flag: Flag) -> Incident:
    return Incident(
        incident_id=content_id(tenant_id.bytes + flag.finding_id.bytes),
        stream_ids=(flag.stream_id,),
        state=IncidentState.OPEN,
        start_ns=flag.start_ns,
        end_ns=flag.end_ns,
        findings=1,
        ncd_max=flag.ncd,
        p_value_min=flag.p_value,
        title=flag.title,
        surprise_max=flag.surprise,
        alerted=False,
    )


def _grow(story: Story, flag: Flag) -> None:
    known = story.incident
    story.incident = replace(
        known,
        stream_ids=known.stream_ids if flag.stream_id in known.stream_ids else (*known.stream_ids, flag.stream_id),
        start_ns=min(known.start_ns, flag.start_ns),
        end_ns=max(known.end_ns, flag.end_ns),
        findings=known.findings + 1,
        ncd_max=max(known.ncd_max, flag.ncd),
        p_value_min=min(known.p_value_min, flag.p_value),
        surprise_max=max(known.surprise_max, flag.surprise),
        title=flag.title if flag.strength > story.strongest else known.title,
    )
    story.strongest = max(story.strongest, flag.strength)
