"""What is told of the way to the database: metrics for each lane, and one line when it is lost and one when it is found."""

from structlog.typing import FilteringBoundLogger

from driftlock.storage.breaker import State
from driftlock.storage.lanes import Lane
from server.telemetry import Telemetry


class OutageReport:
    """Called with every change of a lane's breaker; the lanes lose and find the same database, so they share the lines."""

    def __init__(self, telemetry: Telemetry, log: FilteringBoundLogger) -> None:
        """All lanes are taken as up."""
        self._telemetry = telemetry
        self._log = log
        self._away: set[Lane] = set()

    def __call__(self, lane: Lane, state: State) -> None:
        """See `driftlock.storage.pool.Database`."""
        closed = state is State.CLOSED
        if closed is (lane not in self._away):
            return  # from one probe to the next
        before = bool(self._away)
        if closed:
            self._away.discard(lane)
        else:
            self._away.add(lane)
        self._telemetry.database_changed(lane, up=closed)
        if before and not self._away:
            self._log.warning("the database answers again")
        elif self._away and not before:
            self._log.warning("the database is away: records are refused, retryably, until it answers", lane=lane.value)
