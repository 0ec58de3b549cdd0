"""Which service is the most probable cause of an incident: what its findings say against each, added up.

A finding about traces says how many bits speak against each of its suspects; those add up without bound. A finding about lines
or numbers speaks against the service that sent them, and less and less with each more of them: who suffers is loud, too.

What was said fades. Who is blamed changes slowly, and what traces say for an hour only as traces say more: those who suffer go
on for long after a call has alarmed. Which flags belong together is a matter of minutes and of weight: `Suspicion.accepts`.
"""

from collections.abc import Iterator, Mapping
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

BLAME_KEPT = 0.9330329915368074
"""So much of what speaks against a service is left after a bucket of a minute: half after ten of them.

A fault of an hour ago counts 1/64. It is 2^-0.1, written out and multiplied, so that it is the same on every machine.
"""

RECENT_KEPT = 0.757858283255199
"""The same for what brings flags together, 2^-0.4: half after half of the time that may lie between two of an incident."""

JOIN_SHARE_MIN = 0.2
"""A flag joins across services if whom it blames first has at least this share of the incident's recent suspicion."""

CULPRIT_RATIO_MIN = 0.5
"""It also joins a young incident whose culprit has, in the flag, at least so much of what is said against the first suspect."""

LAST_WORD_BUCKETS = 60
"""After so many buckets in which traces said nothing, what they said fades with what lines and numbers say, and vice versa."""

FADING_BUCKETS_MAX = 1000
"""After so many buckets nothing is left."""


def faded(kept: float, buckets: int) -> float:
    """What is left of 1 after so many buckets if `kept` of it is left after each."""
    if buckets > FADING_BUCKETS_MAX:
        return 0.0
    left = 1.0
    for _ in range(buckets):
        left *= kept
    return left


def muted(bits: float) -> float:
    """What so many bits of a service's own lines and numbers count against it."""
    return OWN_BITS_MAX * bits / (bits + OWN_BITS_MAX)


def blame_shares(flag: Flag) -> dict[str, float]:
    """What a flag says against each service that it blames, as shares that add up to 1, the first suspect's first."""
    said = {suspect.service: max(0.0, suspect.bits) for suspect in flag.blamed} or {flag.service: 1.0}
    total = sum(said.values())
    return {service: bits / total if total > 0 else 1 / len(said) for service, bits in said.items()}


@dataclass(slots=True)
class Against:
    """What speaks against one service, in bits: `calls` by traces, `own` by its own lines and numbers, both fading slowly.

    `recent` is both, fading fast. `title` is of the strongest finding that blames it first, `strongest` that finding's
    strength (None = there is none).
    """

    calls: float = 0.0
    own: float = 0.0
    strongest: Strength | None = None
    title: str = ""
    recent: float = 0.0

    @property
    def bits(self) -> float:
        """All of it that names the culprit."""
        return self.calls + muted(self.own)


class Suspicion:
    """The services that are involved in an incident, in the order in which they came to be, and what speaks against each.

    `calls_bucket` and `own_bucket` are the newest buckets in which traces, and lines or numbers, said something (0 = none did).
    """

    def __init__(self, calls_bucket: int = 0, own_bucket: int = 0) -> None:
        self.calls_bucket = calls_bucket
        self.own_bucket = own_bucket
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

    def take(self, flag: Flag, bucket: int) -> None:
        """Add what a flag of that bucket of event time says."""
        self._fade(bool(flag.blamed), bucket)
        for service in flag.services:
            if service not in self._services:
                self._services[service] = Against()
        for suspect in flag.blamed:
            self._services[suspect.service].calls += max(0.0, suspect.bits)
            self._services[suspect.service].recent += max(0.0, suspect.bits)
        if flag.blamed:
            first = flag.blamed[0].service
        elif flag.service:
            first = flag.service
            self._services[first].own += max(0.0, flag.surprise)
            self._services[first].recent += muted(max(0.0, flag.surprise))
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

    @property
    def culprit(self) -> str:
        """Whom most speaks against, "" while nobody is involved."""
        return max(self._services, key=lambda service: self._services[service].bits, default="")

    def accepts(self, said: Mapping[str, float], *, young: bool) -> bool:
        """Whether a flag whose `blame_shares` are `said` is about the same; `young`: whether this began just before.

        It is not enough that somebody is involved in both: who is called by all, or calls all, always is. The flag's first
        suspect has to be the culprit here or to weigh enough of late; or the culprit here has to weigh enough in the flag, as
        when who suffers was loud before the traces named the cause. Only while this is young: the cause of what has
        gone on for long does not come last.
        """
        first, weight = next(iter(said.items()))
        culprit = self.culprit
        if first == culprit or (first in self._services and self._recent_share(first) >= JOIN_SHARE_MIN):
            return True
        return young and culprit in said and said[culprit] >= CULPRIT_RATIO_MIN * weight

    def overlap(self, said: Mapping[str, float]) -> float:
        """How much a flag suspects the same services of late, 0 to 1: the shares that both give, by its `blame_shares`."""
        known = [service for service in said if service in self._services]
        return sum(min(said[service], self._recent_share(service)) for service in known)

    def title(self, strongest: str) -> str:
        """The title of the incident; `strongest` is that of its strongest finding. The culprit is not named twice."""
        if len(self._services) < 2:
            return strongest
        culprit = self.culprit
        title = self._services[culprit].title or strongest
        return title if _begins(title, culprit) else f"{culprit}: {title}"

    def _fade(self, calls: bool, bucket: int) -> None:
        """Time has come to `bucket`, in which traces (`calls`) or lines and numbers say something."""
        since_calls, since_own = _passed(self.calls_bucket, bucket), _passed(self.own_bucket, bucket)
        recent = faded(RECENT_KEPT, _passed(max(self.calls_bucket, self.own_bucket), bucket))
        calls_kept = own_kept = 1.0
        if calls or since_calls > LAST_WORD_BUCKETS:
            calls_kept, self.calls_bucket = faded(BLAME_KEPT, since_calls), max(self.calls_bucket, bucket)
        if not calls or since_own > LAST_WORD_BUCKETS:
            own_kept, self.own_bucket = faded(BLAME_KEPT, since_own), max(self.own_bucket, bucket)
        if recent == calls_kept == own_kept == 1.0:
            return
        for against in self._services.values():
            against.calls *= calls_kept
            against.own *= own_kept / (1.0 + (1.0 - own_kept) * against.own / OWN_BITS_MAX)  # what it counts fades so
            against.recent *= recent

    def _recent_share(self, service: str) -> float:
        total = sum(against.recent for against in self._services.values())
        return self._services[service].recent / total if total > 0 else 1 / len(self._services)

    def _shares(self) -> dict[str, float]:
        total = sum(against.bits for _, against in self)
        if total <= 0:
            return dict.fromkeys(self._services, 1 / max(1, len(self._services)))
        return {service: against.bits / total for service, against in self}


def _passed(known: int, bucket: int) -> int:
    """Buckets since `known`, 0 where nothing is known."""
    return max(0, bucket - known) if known else 0


def _begins(title: str, service: str) -> bool:
    """Whether a title begins with the name of a service, with or without its environment and namespace."""
    plain = service.rpartition("@")[0] or service
    for name in (service, plain, plain.rpartition("/")[2]):
        after = title[len(name) : len(name) + 1]
        if title.startswith(name) and not after.isalnum() and after not in ("-", "_", ".", "/", "@"):
            return True
    return False
