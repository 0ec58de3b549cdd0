"""A meter that remembers what it was told."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from driftlock.accounts.metering import Refusal


@dataclass
class CountingMeter:
    """Counts under (signal, what, reason or unit); `tenants` are those that it was told of."""

    tenants: set[UUID | None] = field(default_factory=set)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def accepted(self, signal: str, records: int, request_bytes: int) -> None:
        self.counts[signal, "accepted", "records"] += records
        self.counts[signal, "accepted", "bytes"] += request_bytes

    def received(self, tenant_id: UUID, signal: str, records: int) -> None:
        self.tenants.add(tenant_id)
        if records:
            self.counts[signal, "received", "records"] += records

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:
        self.tenants.add(tenant_id)
        self.counts[signal, "rejected", str(reason)] += records
        if not journaled:
            self.counts[signal, "rejected", "unjournaled"] += records

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:
        self.tenants.add(tenant_id)
        self.counts[signal or "", "refused", str(Refusal(reason))] += 1
        if records:
            self.counts[signal or "", "refused records", str(reason)] += records

    def duplicate(self, signal: str, records: int) -> None:
        self.counts[signal, "duplicate", "records"] += records

    def altered(self, signal: str, what: str, count: int) -> None:
        self.counts[signal, "altered", what] += count
