"""An open incident: what it consists of by now, and how well a flag fits it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from driftlock.engine.correlation.budget import Strength
from driftlock.engine.correlation.exemplars import Exemplars
from driftlock.engine.correlation.flag import Flag
from driftlock.engine.correlation.suspicion import Suspicion
from driftlock.engine.verdict import Incident, IncidentState, content_id

INCIDENT_STREAMS_MAX = 200
"""So many streams an incident lists, those that came first; findings of further ones join and count all the same."""

YOUNG_BUCKETS = 10
"""So long an incident is young, in buckets of event time: twice the time that may lie between two of its flags."""

Fit = tuple[int, float]
"""How many traces a flag and an incident share, and how much they suspect the same services (0 to 1)."""


@dataclass(slots=True)
class Member:
    """A stream in an incident: the window of its newest flag, and the bucket of event time in which it was.

    `across`: the stream's findings are about many services, so its windows bring none of them together.
    """

    window: int
    bucket: int
    across: bool = False


@dataclass(slots=True)
class Story:
    """An open incident. `members` are the streams whose further flags may join it by their windows, or by those of others.

    `strongest` and `title` are of its strongest finding, `suspicion` says which services are involved, `exemplars` which
    traces. `opened` is the bucket of its first flag, `alerted_ns` the event time of its alert; None = the budget kept it quiet.
    """

    incident: Incident
    historical: bool
    strongest: Strength
    title: str
    opened: int
    alerted_ns: int | None = None
    members: dict[UUID, Member] = field(default_factory=dict)
    suspicion: Suspicion = field(default_factory=Suspicion)
    exemplars: Exemplars = field(default_factory=Exemplars)

    @classmethod
    def begun(cls, tenant_id: UUID, flag: Flag, bucket: int) -> "Story":
        """The incident that begins with a flag of that bucket, which is still to be taken."""
        incident = Incident(
            incident_id=content_id(tenant_id.bytes + flag.finding_id.bytes),
            stream_ids=(flag.stream_id,),
            state=IncidentState.OPEN,
            start_ns=flag.start_ns,
            end_ns=flag.end_ns,
            findings=0,
            ncd_max=flag.ncd,
            p_value_min=flag.p_value,
            title=flag.title,
            surprise_max=flag.surprise,
            alerted=False,
        )
        return cls(incident, flag.historical, flag.strength, flag.title, bucket)

    @property
    def bucket(self) -> int:
        """The bucket of its newest flag."""
        return max(member.bucket for member in self.members.values())

    @property
    def names(self) -> set[str]:
        """All services and traces by which a flag of another stream may find it."""
        return {service for service, _ in self.suspicion}.union(self.exemplars.recent, self.exemplars.ids)

    def take(self, flag: Flag, bucket: int) -> None:
        """Let a flag join."""
        known = self.members.pop(flag.stream_id, Member(flag.window, bucket))  # whose flag is the newest stands last
        self.members[flag.stream_id] = Member(max(known.window, flag.window), max(known.bucket, bucket), flag.across)
        if flag.strength > self.strongest:
            self.strongest, self.title = flag.strength, flag.title
        self.suspicion.take(flag, bucket)
        if flag.services:
            self.exemplars.take(flag)
        now = self.incident
        listed = flag.stream_id in now.stream_ids or len(now.stream_ids) >= INCIDENT_STREAMS_MAX
        self.incident = replace(
            now,
            stream_ids=now.stream_ids if listed else (*now.stream_ids, flag.stream_id),
            start_ns=min(now.start_ns, flag.start_ns),
            end_ns=max(now.end_ns, flag.end_ns),
            findings=now.findings + 1,
            ncd_max=max(now.ncd_max, flag.ncd),
            p_value_min=min(now.p_value_min, flag.p_value),
            surprise_max=max(now.surprise_max, flag.surprise),
        )
        self.show()

    def show(self) -> None:
        """Let the incident say what is known of its cause."""
        self.incident = replace(
            self.incident,
            title=self.suspicion.title(self.title),
            suspects=self.suspicion.ranked(),
            trace_ids=self.exemplars.ids,
        )

    def near(self, flag: Flag, bucket: int, buckets: int) -> bool:
        """Whether it had a flag at most so many buckets from there, other than one that only windows tell apart from this."""
        return any(
            abs(bucket - member.bucket) <= buckets
            for stream_id, member in reversed(self.members.items())
            if member.across or stream_id != flag.stream_id
        )

    def fit(self, flag: Flag, bucket: int, said: Mapping[str, float]) -> Fit | None:
        """How well a flag fits by the services and the traces that it names, higher = better; None when it does not.

        `said` are the flag's `blame_shares`.
        """
        shared = self.exemplars.shared(flag.named_traces)
        if not shared and not self.suspicion.accepts(said, young=bucket - self.opened <= YOUNG_BUCKETS):
            return None
        return shared, self.suspicion.overlap(said)
