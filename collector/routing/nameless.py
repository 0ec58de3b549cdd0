"""Telling senders that their resources have no `service.name`, as seldom as it takes to be noticed.

A Collector logs a warning for every answer with a message, so what is the same in each request is said once an hour.
"""

import logging
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from collector.routing.conventions import UNKNOWN_SERVICE
from driftlock.engine.event import Signal

HOUR_NS = 3600 * 1_000_000_000
_NAMES: Final[Mapping[Signal, str]] = {Signal.LOGS: "log records", Signal.METRICS: "data points", Signal.TRACES: "spans"}

log = logging.getLogger(__name__)


class NamelessNotices:
    """Remembers which of at most `tenants_max` tenants were told within `period_ns`. Event loop only."""

    def __init__(self, *, tenants_max: int = 4096, period_ns: int = HOUR_NS) -> None:
        """Nobody was told yet. Raises ValueError for limits that limit nothing."""
        if tenants_max < 1 or period_ns < 1:
            raise ValueError("tenants_max and period_ns must be at least 1")
        self._tenants_max = tenants_max
        self._period_ns = period_ns
        self._told_ns: dict[UUID, int] = {}

    def __len__(self) -> int:
        """Tenants remembered."""
        return len(self._told_ns)

    def message(self, tenant_id: UUID, signal: Signal, records: int, now_ns: int) -> str:
        """What to tell the sender of `records` journaled records without a service's name; "" when nothing is to be said.

        Where something is said, one line is logged, too. A clock that was set back does not silence it for longer.
        """
        if records < 1:
            return ""
        told_ns = self._told_ns.get(tenant_id)
        if told_ns is not None and abs(now_ns - told_ns) < self._period_ns:
            return ""
        self._told_ns.pop(tenant_id, None)
        self._told_ns[tenant_id] = now_ns  # at the end: the first one is the one told longest ago
        if len(self._told_ns) > self._tenants_max:
            del self._told_ns[next(iter(self._told_ns))]
        log.warning("tenant %s sends %s without service.name: they share the stream %s", tenant_id, signal, UNKNOWN_SERVICE)
        return (
            f"{records} {_NAMES[signal]} were accepted without service.name and share the stream {UNKNOWN_SERVICE}: "
            "set OTEL_SERVICE_NAME, or the resource attribute service.name (said once an hour)"
        )
