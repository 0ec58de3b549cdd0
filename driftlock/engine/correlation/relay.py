"""What a shard keeps of a tenant whose fold another shard has: enough to ask its own streams, and to tell the rest there."""

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from driftlock.engine.correlation.derived import Derived, derived_bytes
from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.correlation.state import relay_bytes, relay_from
from driftlock.engine.correlation.watching import Watching
from driftlock.engine.fold import Summary
from driftlock.engine.limits import Limits
from driftlock.engine.ports import FindingRow, IncidentRow


class Relay:
    """Stands where `Correlator` does, is fed as it is, and passes on what it is told: it knows of no incidents and no budget.

    Silences are asked for here, where the streams are, once as in a `Correlator`. Ask for `take_told` after each step.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._progress: dict[UUID, Progress] = {}
        self._watching = Watching()
        self._told: dict[int, Derived] = {}
        """By a number that counts up."""
        self._bare: dict[UUID, int] = {}
        """The numbers of those that say nothing which the next one of their stream would not say."""
        self._next = 0

    def take_told(self) -> bytes | None:
        """The body of a derived row with what was told since the last call; None where there is nothing."""
        told, self._told, self._bare, self._next = self._told, {}, {}, 0
        return derived_bytes(told.values()) if told else None

    def derived(
        self, stream_id: UUID, progress: Progress, flags: Iterable[Flag], summaries: Iterable[Summary] = ()
    ) -> list[IncidentRow]:
        """Pass on what a stream's fold emitted for one journal row."""
        self._progress[stream_id] = progress
        self._watching.heard(stream_id, progress.due_ns)
        # It is this shard that tells the stream the time.
        self._tell(Derived(stream_id, replace(progress, closes_ns=0), tuple(flags), tuple(summaries)))
        return []

    def silent(self, flag: Flag) -> list[IncidentRow] | None:
        """Pass on that a stream is silent; None when that is known, or when it is not to be told of this stream."""
        if not self._watching.accepts(flag.stream_id):
            return None
        self._tell(Derived(flag.stream_id, None, (flag,)))
        return []

    def _tell(self, entry: Derived) -> None:
        """A silence takes back nothing: there must be somebody who can fall silent."""
        before = self._bare.pop(entry.stream_id, None)
        if before is not None and entry.progress is not None:
            del self._told[before]
        self._told[self._next] = entry
        if entry.bare:
            self._bare[entry.stream_id] = self._next
        self._next += 1

    def clock(self, now_ns: int) -> list[IncidentRow]:
        """Take a clock record: forget who has been quiet for long."""
        quiet_ns = now_ns - self._limits.incident_idle_ns
        self._progress = {known: it for known, it in self._progress.items() if it.received_ns >= quiet_ns}
        return []

    def waiting_at(self, now_ns: int) -> bool:
        """Whether a stream is to be asked at that time whether it is silent."""
        return self._watching.waiting_at(now_ns)

    def first_due_ns(self) -> int | None:
        """See `Watching.first_due_ns`."""
        return self._watching.first_due_ns()

    def due(self, now_ns: int) -> list[UUID]:
        """See `Watching.due`."""
        return self._watching.due(now_ns)

    def postpone(self, stream_id: UUID, due_ns: int) -> bool:
        """See `Watching.postpone`."""
        return self._watching.postpone(stream_id, due_ns)

    def give_up(self, now_ns: int) -> None:
        """See `Watching.give_up`."""
        self._watching.give_up(now_ns)

    def closing(self, now_ns: int) -> list[UUID]:
        """Streams that have to be told that it is `now_ns`, by id: something in them is over by then."""
        return sorted(stream_id for stream_id, it in self._progress.items() if 0 < it.closes_ns <= now_ns)

    def take_findings(self) -> list[FindingRow]:
        """None: those about many series come from the tenant's fold."""
        return []

    def set_budget(self, alerts_per_day_max: int) -> None:
        """Nothing alerts here."""

    def budget_spent_share(self, _now_ns: int) -> float:
        """Nothing is spent here."""
        return 0.0

    def to_bytes(self) -> bytes:
        """The bytes from which `restore` continues; what is told has been taken."""
        return relay_bytes(self._progress, self._watching.watches)

    def restore(self, body: bytes) -> None:
        """Continue from the bytes of `to_bytes`; raises `Internal` when they are damaged."""
        self._progress, watches = relay_from(body)
        self._watching = Watching(watches)
