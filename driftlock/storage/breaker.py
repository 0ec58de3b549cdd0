"""A circuit breaker: after failures in a row nothing is tried any more but probes, until one of them succeeds.

    closed ── failures_max failures in a row ──> open <── it failed ── half-open
       ^                                          └── probe_ms later, a probe starts ──> ┘
       └────────────────────────────── the first success ────────────────────────────────┘

Callers pass while it is closed and are refused at once while it is not, so that nobody waits for a database that is known to
be away. Probes are somebody else's, so that no caller is sacrificed to them. After M. Nygard, "Release It!", "Circuit Breaker".
"""

from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Pure but for the callback `on_change(state)`, which is called with each new state and must not raise.

    `clock_s` is a monotonic clock. What counts as a failure is up to who reports it: slowness should not. Probes start
    `probe_ms` apart, the first one at once, and at most `probes_max` are under way, so that one that hangs does not keep the
    next from noticing that all is well.
    """

    def __init__(
        self,
        clock_s: Callable[[], float],
        *,
        failures_max: int = 8,
        probe_ms: int = 200,
        probes_max: int = 16,
        on_change: Callable[[State], None] = lambda _: None,
    ) -> None:
        """Starts closed. Raises ValueError for a limit below 1."""
        if min(failures_max, probe_ms, probes_max) < 1:
            raise ValueError("failures_max, probe_ms and probes_max are at least 1")
        self._clock_s = clock_s
        self._failures_max = failures_max
        self._probe_s = probe_ms / 1000
        self._probes_max = probes_max
        self._on_change = on_change
        self._state = State.CLOSED
        self._failures = 0  # in a row
        self._probes = 0  # under way
        self._probed_s = 0.0  # when the last one started

    @property
    def state(self) -> State:
        """Where it stands now."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether callers may pass."""
        return self._state is State.CLOSED

    def succeeded(self) -> None:
        """Something went well, a caller's or a probe's: all is well."""
        self._failures = 0
        self._become(State.CLOSED)

    def failed(self) -> None:
        """Something of a caller's failed. Of no importance while it is not closed: those callers came before."""
        if not self.closed:
            return
        self._failures += 1
        if self._failures >= self._failures_max:
            self._probed_s = self._clock_s() - self._probe_s  # the first probe need not wait
            self._become(State.OPEN)

    def begin_probe(self) -> bool:
        """Whether a probe may start now; whoever is told so has to call `end_probe`."""
        now_s = self._clock_s()
        if self.closed or self._probes >= self._probes_max or now_s - self._probed_s < self._probe_s:
            return False
        self._probes += 1
        self._probed_s = now_s
        self._become(State.HALF_OPEN)
        return True

    def end_probe(self, *, well: bool) -> None:
        """A probe has ended, `well` or not."""
        self._probes -= 1
        if well:
            self.succeeded()
        elif not self._probes and not self.closed:
            self._become(State.OPEN)

    def _become(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)
