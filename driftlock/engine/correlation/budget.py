"""The false-alarm budget: at most so many alerted incidents in any 24 hours of event time, of a stream and of its tenant.

Two rules, which only ever keep quiet what would have alerted:

*Count*, a deterministic guarantee. An incident may alert at event time t only while fewer than `alerts_max` alerts lie
closer to t than 24 hours, before it or after it. Whatever 24 hours one looks at, take the alert in them that was decided
last: all others in them lie closer to it than 24 hours, so there were fewer than `alerts_max` of them. Hence no 24 hours
of event time hold more alerts than the budget that was in force when the last of them was decided, in whatever order the
times came. Alerts that no longer fit into memory leave spans of time behind in which nothing may alert any more.

*Reserve*, a statistical one. Half of the budget is for whatever comes first. Once it is spent, an incident alerts only if
its evidence is stronger than that of every other incident of the last 24 hours, alerted or not: what is required grows from
nothing to the strongest of the day as the budget is spent, and no storm of usual evidence spends what is kept for more.
Where the strengths of incidents are exchangeable, the n-th of a day is the strongest so far with probability 1/n (the rank
argument of conformal prediction, e.g. Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005), so
n incidents take 1/(h+1) + ... + 1/n < ln(n/h) of the reserve on average after the first h: with a budget of 24, a thousand
incidents in a day take 4.4 of the 12 that are kept. Nothing is supposed about how strengths are distributed. Equals are
ordered by their ids, which are hashes, so that none of them is preferred.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from driftlock.engine.limits import Limits

DAY_NS = 24 * 60 * 60 * 1_000_000_000
TENANT_ALERTS_MAX = 1000
"""Largest budget of a tenant, in alerts in 24 hours; a stream's is bounded by its profile."""
SPANS_MAX = 16
"""Spans of time a ledger keeps of the alerts that it forgot; beyond them the two closest become one, gap included."""

PEAKS_MAX = 16
"""Peaks a ledger compares with; among n incidents in random order there are about ln n."""

Span = tuple[int, int]


class Strength(NamedTuple):
    """How strong the evidence for an incident is, compared member by member; higher = stronger.

    `surprise` in bits beyond the floor of p, `rarity` = -p, `distance` = the calibrated distance.
    """

    surprise: float
    rarity: float
    distance: float


class Peak(NamedTuple):
    """An incident that was the strongest at its event time (ns), and that no later one has surpassed."""

    time_ns: int
    strength: Strength
    incident_id: UUID

    @property
    def order(self) -> tuple[Strength, int]:
        """What incidents are compared by; two of them are never equal."""
        return self.strength, self.incident_id.int


@dataclass(slots=True)
class Ledger:
    """What one budget has to remember. Times are event times in ns.

    `alerts`: of the newest alerts in the order of decision; `forgotten`: first and last of those that it holds no more,
    ascending; `peaks`: the strongest incidents of the last 24 hours, ascending in time and so descending in strength.
    """

    alerts: list[int] = field(default_factory=list)
    forgotten: list[Span] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)

    def __len__(self) -> int:
        """Things remembered."""
        return len(self.alerts) + len(self.forgotten) + len(self.peaks)

    def spent(self, time_ns: int) -> int:
        """Alerts closer to `time_ns` than 24 hours."""
        return sum(abs(time_ns - alert) < DAY_NS for alert in self.alerts)

    def allows(self, incident: Peak, alerts_max: int) -> bool:
        """Whether an incident as it is by now may alert under a budget of `alerts_max` in 24 hours."""
        time_ns = incident.time_ns
        if any(first - DAY_NS < time_ns < last + DAY_NS for first, last in self.forgotten):
            return False
        spent = self.spent(time_ns)
        return spent < alerts_max and (2 * spent < alerts_max or self._strongest(incident))

    def _strongest(self, incident: Peak) -> bool:
        """Whether no other incident of the same 24 hours is stronger."""
        return all(
            peak.order < incident.order
            for peak in self.peaks
            if peak.incident_id != incident.incident_id and abs(incident.time_ns - peak.time_ns) < DAY_NS
        )

    def note(self, incident: Peak) -> None:
        """Remember an incident as it is by now, and forget what it surpasses and what is too old to be compared with."""
        others = [peak for peak in self.peaks if peak.incident_id != incident.incident_id]
        others = [peak for peak in others if peak.time_ns > incident.time_ns - DAY_NS]
        if not any(peak.time_ns >= incident.time_ns and peak.order > incident.order for peak in others):
            others = [peak for peak in others if peak.time_ns > incident.time_ns or peak.order > incident.order]
            others = sorted([*others, incident])
        if len(others) > PEAKS_MAX:  # the strongest one stays for longer, so that more is required and never less
            others[:2] = [others[0]._replace(time_ns=others[1].time_ns)]
        self.peaks = others

    def spend(self, time_ns: int, alerts_max: int) -> None:
        """Remember an alert. Twice the budget is kept by time, so what is forgotten is far from what comes next."""
        self.alerts.append(time_ns)
        while len(self.alerts) > 2 * alerts_max + 16:
            alert = self.alerts.pop(0)
            self.forgotten = joined([*self.forgotten, (alert, alert)])


def joined(spans: Iterable[Span]) -> list[Span]:
    """At most `SPANS_MAX` spans, ascending, that together cover all of `spans`.

    Those less than 48 hours apart become one at no loss: what lies between is closer than 24 hours to one of them.
    """
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first - merged[-1][1] < 2 * DAY_NS:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    while len(merged) > SPANS_MAX:
        closest = min(range(1, len(merged)), key=lambda index: merged[index][0] - merged[index - 1][1])
        merged[closest - 1 : closest + 1] = [(merged[closest - 1][0], merged[closest][1])]
    return merged


class Budget:
    """The ledgers of a tenant and of its streams; a stream of traces has one for each service that it blames.

    `alerts_per_day_max` is the tenant's budget and may change at any time.
    """

    def __init__(self, limits: Limits) -> None:
        self.alerts_per_day_max = limits.tenant_alerts_per_day_max
        self.tenant = Ledger()
        self.streams: dict[UUID, Ledger] = {}  # whoever decided last stands last
        self.given_up: list[Span] = []  # when ledgers that had to go had their alerts: streams without one begin with these
        self._limits = limits
        self._entries = 0

    def restore(self, streams: dict[UUID, Ledger], tenant: Ledger, given_up: list[Span]) -> None:
        """Continue with these ledgers, `streams` in the order in which they were."""
        self.streams, self.tenant, self.given_up = streams, tenant, given_up
        self._entries = sum(map(len, streams.values()))

    def spent_share(self, now_ns: int) -> float:
        """Share of the tenant's budget that is spent in the 24 hours around `now_ns`, 0 to 1; of a budget of nothing 0."""
        return min(1.0, self.tenant.spent(now_ns) / self.alerts_per_day_max) if self.alerts_per_day_max else 0.0

    def decide(self, stream_id: UUID, incident: Peak, alerts_max: int) -> bool:
        """Whether an incident that has not alerted yet may do so now; if so the alert is spent.

        `incident` has the event time of its newest finding and the strength of its strongest one, `alerts_max` is the budget
        of its stream.
        """
        ledger = self._ledger(stream_id)
        allowed = ledger.allows(incident, alerts_max) and self.tenant.allows(incident, self.alerts_per_day_max)
        if allowed:
            ledger.spend(incident.time_ns, alerts_max)
            self.tenant.spend(incident.time_ns, self.alerts_per_day_max)
        self._note(ledger, incident)
        return allowed

    def grew(self, stream_id: UUID, incident: Peak) -> None:
        """An incident that has alerted already has one more finding: it costs nothing, but others are compared with it."""
        self._note(self._ledger(stream_id), incident)

    def _ledger(self, stream_id: UUID) -> Ledger:
        ledger = self.streams.pop(stream_id, None)
        if ledger is None:
            ledger = Ledger(forgotten=list(self.given_up))
        else:
            self._entries -= len(ledger)
        self.streams[stream_id] = ledger
        return ledger

    def _note(self, ledger: Ledger, incident: Peak) -> None:
        """What every call ends with: the ledger it took is counted again."""
        ledger.note(incident)
        self.tenant.note(incident)
        self._entries += len(ledger)
        while self._entries > self._limits.budget_entries_max and len(self.streams) > 1:
            gone = self.streams.pop(next(iter(self.streams)))
            self._entries -= len(gone)
            alerts = [(alert, alert) for alert in gone.alerts]
            self.given_up = joined([*self.given_up, *gone.forgotten, *alerts])
