"""Incidents over services as JSON lines."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from api.rfc3339 import event_time
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import Incident, IncidentState
from server.offline.scorer import Budget

FINDING_IDS_MAX = 100
"""So many findings does an incident name; others are only counted."""


class IncidentLines:
    """Incidents while they last: each is told when it begins, and when it is over or the input ends."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._open: dict[UUID, _Open] = {}

    def take(self, row: IncidentRow) -> list[str]:
        """What is to be told now that an incident has changed."""
        incident = row.incident
        known = self._open.get(incident.incident_id)
        told: list[str] = []
        if known is None:
            over = None if self._budget is None else self._budget.over(incident)
            known = self._open[incident.incident_id] = _Open(incident, over)
            known.add(row.joined)
            told.append(self._line(known, final=False))
        else:
            known.add(row.joined)
        known.incident = incident
        if incident.state is IncidentState.CLOSED:
            told.append(self._line(self._open.pop(incident.incident_id), final=True))
        return told

    def rest(self) -> list[str]:
        """The input has ended: incidents that are still open, in the order in which they began."""
        told = [self._line(known, final=True) for known in self._open.values()]
        self._open.clear()
        return told

    def _line(self, known: "_Open", *, final: bool) -> str:
        incident = known.incident
        members: dict[str, Any] = {
            "type": "incident",
            "id": str(incident.incident_id),
            "final": final,
            "state": incident.state,
            "start": event_time(incident.start_ns),
            "end": event_time(incident.end_ns),
            "findings": incident.findings,
            "finding_ids": [str(it) for it in known.finding_ids],
            "score_max": incident.ncd_max,
            "p_value_min": incident.p_value_min,
            "surprise_max": incident.surprise_max,
            "title": incident.title,
            "culprit": incident.suspects[0].service if incident.suspects else None,
            "suspects": [asdict(suspect) for suspect in incident.suspects],
            "trace_ids": incident.trace_ids,
        }
        if known.over_budget is not None:
            members["over_budget"] = known.over_budget
        return json.dumps(members, separators=(",", ":"), allow_nan=False) + "\n"


@dataclass(slots=True)
class _Open:
    """The last form of an incident, whether it is over the budget (None = there is none), and its first findings."""

    incident: Incident
    over_budget: bool | None
    finding_ids: list[UUID] = field(default_factory=list)

    def add(self, finding_ids: Sequence[UUID]) -> None:
        """Findings have joined it."""
        self.finding_ids += finding_ids[: FINDING_IDS_MAX - len(self.finding_ids)]
