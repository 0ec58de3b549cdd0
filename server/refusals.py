"""What was turned away, in the log: a line for each kind of refusal, at most one a minute, with counts and never a payload.

A kind is (tenant, signal, reason), all three of bounded or verified words, so that no sender can write into the log. The
first of a kind is told at once; what follows is added up and told when its minute is over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from driftlock.accounts.metering import NullIngestMeter

PERIOD_S = 60.0
ENTRIES_MAX = 60
"""So there are about as many lines a minute at most, whatever happens to however many tenants."""
OTHERS = "_other"
NOBODY = "unknown"


@dataclass(slots=True)
class _Entry:
    """One kind: when it was told last, and what has come since."""

    said_s: float
    requests: int = 0
    records: int = 0


class RefusalLog(NullIngestMeter):
    """A meter that tells `log` of refused requests and rejected records. Not thread-safe: event loop only.

    `clock_s` is a monotonic clock. Beyond `entries_max` kinds at a time the tenants of further ones are not told apart. Call
    `tick` now and then: it tells what has been waiting for `period_s`, and forgets kinds that did not come again.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        clock_s: Callable[[], float],
        *,
        period_s: float = PERIOD_S,
        entries_max: int = ENTRIES_MAX,
    ) -> None:
        self._log, self._clock_s, self._period_s, self._entries_max = log, clock_s, period_s, entries_max
        self._entries: dict[tuple[str, str, str, str], _Entry] = {}

    @property
    def entries(self) -> int:
        """Kinds that are remembered."""
        return len(self._entries)

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:  # noqa: ARG002
        """See `driftlock.accounts.metering.IngestMeter`."""
        self._note("records rejected", tenant_id, signal, reason, records)

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:
        """See `driftlock.accounts.metering.IngestMeter`."""
        self._note("requests refused", tenant_id, signal, reason, records)

    def tick(self) -> None:
        """Tell what has waited for its period."""
        now_s = self._clock_s()
        for key, entry in list(self._entries.items()):
            if now_s - entry.said_s < self._period_s:
                continue
            if entry.requests:
                self._tell(key, entry, now_s)
            else:
                del self._entries[key]

    def close(self) -> None:
        """Tell all that is left, whatever its period."""
        for key, entry in self._entries.items():
            if entry.requests:
                self._tell(key, entry, self._clock_s())

    def _note(self, what: str, tenant_id: UUID | None, signal: str | None, reason: str, records: int) -> None:
        key = (what, NOBODY if tenant_id is None else str(tenant_id), signal or NOBODY, str(reason))
        if key not in self._entries and len(self._entries) >= self._entries_max:
            key = (what, OTHERS, key[2], key[3])
        now_s = self._clock_s()
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(now_s - self._period_s)
        entry.requests += 1
        entry.records += records
        if now_s - entry.said_s >= self._period_s:
            self._tell(key, entry, now_s)

    def _tell(self, key: tuple[str, str, str, str], entry: _Entry, now_s: float) -> None:
        what, tenant, signal, reason = key
        self._log.warning(what, tenant=tenant, signal=signal, reason=reason, requests=entry.requests, records=entry.records)
        entry.said_s, entry.requests, entry.records = now_s, 0, 0
