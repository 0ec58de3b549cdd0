"""Which open incidents know a service or a trace, so that a flag looks at those only, however many are open."""

from collections.abc import Iterable
from uuid import UUID

from driftlock.engine.correlation.story import Story


class Mentions:
    """Open incidents by the names that they know, in the order in which they began."""

    def __init__(self) -> None:
        self._names: dict[UUID, set[str]] = {}
        self._known: dict[str, set[UUID]] = {}
        self._numbers: dict[UUID, int] = {}
        self._next = 0

    def put(self, story: Story) -> None:
        """An incident is new, or knows other names than before."""
        incident_id = story.incident.incident_id
        if incident_id not in self._numbers:
            self._numbers[incident_id] = self._next
            self._next += 1
        names, known = story.names, self._names.get(incident_id, set())
        for name in names - known:
            self._known.setdefault(name, set()).add(incident_id)
        self._forget(incident_id, known - names)
        self._names[incident_id] = names

    def remove(self, incident_id: UUID) -> None:
        """An incident is over."""
        self._forget(incident_id, self._names.pop(incident_id))
        del self._numbers[incident_id]

    def _forget(self, incident_id: UUID, names: set[str]) -> None:
        for name in names:
            self._known[name].remove(incident_id)
            if not self._known[name]:
                del self._known[name]

    def of(self, names: Iterable[str]) -> list[UUID]:
        """The incidents that know one of the names, the oldest first."""
        found = {incident_id for name in names for incident_id in self._known.get(name, ())}
        return sorted(found, key=self._numbers.__getitem__)
