"""The traces of an incident: a few to look at, and the newest ones, by which findings of other services are recognised."""

from collections.abc import Iterable, Mapping

from driftlock.engine.correlation.budget import Strength
from driftlock.engine.correlation.flag import Flag

INCIDENT_TRACES_MAX = 10
"""So many traces an incident shows."""

RECENT_TRACES_MAX = 64
"""By so many of its newest traces it is recognised: those of at least eight findings.

Those that are shown do not suffice: the strongest ones may be minutes old, and no request lasts that long.
"""


class Exemplars:
    """Trace ids (hexadecimal) that findings of an incident named."""

    def __init__(self, shown: Mapping[str, Strength] | None = None, recent: Iterable[str] = ()) -> None:
        """Continue with what `shown` and `recent` said."""
        self.shown: dict[str, Strength] = dict(shown or {})
        """Those to look at with the strength of their findings, the strongest first."""
        self._recent: dict[str, None] = dict.fromkeys(recent)

    @property
    def recent(self) -> tuple[str, ...]:
        """The newest ones, the newest last."""
        return tuple(self._recent)

    @property
    def ids(self) -> tuple[str, ...]:
        """Those to look at, of the strongest findings first."""
        return tuple(self.shown)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._recent)

    def take(self, flag: Flag) -> None:
        """Take those that a flag names. Of equally strong findings the earlier one's stay."""
        known = dict(self.shown)
        for trace_id in flag.named_traces:
            self._recent.pop(trace_id, None)
            self._recent[trace_id] = None
            known[trace_id] = max(flag.strength, known.get(trace_id, flag.strength))
        while len(self._recent) > RECENT_TRACES_MAX:
            del self._recent[next(iter(self._recent))]
        ranked = sorted(known.items(), key=lambda it: it[1], reverse=True)
        self.shown = dict(ranked[:INCIDENT_TRACES_MAX])

    def shared(self, trace_ids: Iterable[str]) -> int:
        """How many of these it knows."""
        return sum(trace_id in self._recent or trace_id in self.shown for trace_id in trace_ids)
