"""Which service is the most probable cause of an incident: what its findings say against each, added up.

A finding about traces says how many bits speak against each of its suspects; those add up without bound. A finding about lines
or numbers speaks against the service that sent them, and less and less with each more of them: who suffers is loud, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from driftlock.engine.correlation.budget import Strength
from driftlock.engine.correlation.flag import Flag
from driftlock.engine.evidence import Suspect

INVOLVED_SERVICES_MAX = 50
"""So many services an incident remembers; beyond, those go that least speaks against."""

INCIDENT_SUSPECTS_MAX = 10
"""So many of them an incident shows."""

OWN_BITS_MAX = 24.0
"""What a service's own lines and numbers say against it stays below this; at as many bits it is half of it.

It is what one finding about calls says that just alarms, if there is to be one false alarm in a day of 100 traces a second:
log2 of 8.6 million is 23. So lines and numbers, however loud, change the order only of services whose bits by traces differ
by less than that, and among services without odd calls the louder one comes first.
"""


@dataclass(slots=True)
class Against:
    """What speaks against one service, in bits: `calls` by traces, `own` by its own lines and numbers.

    `title` is of the strongest finding that blames it first, `strongest` that finding's strength (None = there is none).
    """

    calls: float = 0.0
    own: float = 0.0
    strongest: Strength | None = None
    title: str = ""

    @property
    def bits(self) -> float:
        """All of it."""
        return self.calls + OWN_BITS_MAX * self.own / (self.own + OWN_BITS_MAX)


class Suspicion:
    """The services that are involved in an incident, in the order in which they came to be, and what speaks against each."""

    def __init__(self) -> None:
        self._services: dict[str, Against] = {}

    def __contains__(self, service: str) -> bool:
        """Whether a service is involved."""
        return service in self._services

    def __iter__(self) -> Iterator[tuple[str, Against]]:
        """The services and what speaks against them."""
        return iter(self._services.items())

    def __len__(self) -> int:
        """How many services are involved."""
        return len(self._services)

    def put(self, service: str, against: Against) -> None:
        """Continue with what is known of a service."""
        self._services[service] = against

    def take(self, flag: Flag) -> None:
        """Add what a flag says."""
        for service in flag.services:
            if service not in self._services:
                self._services[service] = Against()
        for suspect in flag.blamed:
            self._services[suspect.service].calls += max(0.0, suspect.bits)
        if flag.blamed:
            first = flag.blamed[0].service
        elif flag.service:
            first = flag.service
            self._services[first].own += max(0.0, flag.surprise)
        else:
            return
        against = self._services[first]
        if against.strongest is None or flag.strength > against.strongest:
            against.strongest, against.title = flag.strength, flag.title
        while len(self._services) > INVOLVED_SERVICES_MAX:
            del self._services[min(reversed(self._services), key=lambda service: self._services[service].bits)]

    def ranked(self) -> tuple[Suspect, ...]:
        """The most suspicious services, the first of them the culprit; shares are of the bits of all that are involved.

        Equals stand in the order in which they came to be involved, and share alike where nothing speaks against anyone.
        """
        shares = self._shares()
        found = [Suspect(service, against.bits, shares[service]) for service, against in self]
        found.sort(key=lambda suspect: -suspect.bits)
        return tuple(found[:INCIDENT_SUSPECTS_MAX])

    def overlap(self, flag: Flag) -> float:
        """How much a flag suspects the same services, 0 to 1: the shares that both give a service."""
        alone = Suspicion()
        alone.take(flag)
        shares = self._shares()
        return sum(min(share, shares.get(service, 0.0)) for service, share in alone._shares().items())

    def title(self, strongest: str) -> str:
        """The title of the incident; `strongest` is that of its strongest finding."""
        if len(self._services) < 2:
            return strongest
        culprit = self.ranked()[0].service
        return f"{culprit}: {self._services[culprit].title or strongest}"

    def _shares(self) -> dict[str, float]:
        total = sum(against.bits for _, against in self)
        if total <= 0:
            return dict.fromkeys(self._services, 1 / max(1, len(self._services)))
        return {service: against.bits / total for service, against in self}
