"""What the kernels say of calls and traces, whichever of them says it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

OddCall: TypeAlias = "tuple[str, int, int, int, int, float, float, float]"
"""Another odd edge of the same alarm: measure, caller, operation, calls, affected, value, usual, bits."""

SeenTrace: TypeAlias = "tuple[bytes, int, int, int, int, tuple[int, ...], bool]"
"""A trace that shows it: id, start and duration in ns, spans, root operation, operations from it to the odd place, error."""

Node: TypeAlias = "tuple[int, int, int, int]"
"""A node of the subtree that is new or missing: depth, operation, +1 or -1, how often in a row."""


POOL_MADE = 1
"""All that a service does or calls: the service of the caller, or of the operation where nobody calls."""

POOL_CALLED = 2
"""All that come from other services to that of the operation."""


class Judgement(Protocol):
    """An alarm of `cbad_cy.calls` or `cbad_cy.shapes`. Operations, services and instances are numbers, 0 = none.

    `score` is .5 for what just alarms and grows with strangeness; `surprise` and bits are in bits, times in ns of event time.
    `time_ns` is when the trace with which it alarmed was closed.
    """

    @property
    def question(self) -> str:
        """As in `driftlock.engine.verdict.Question`: latency, errors, shape or dependency."""
        ...

    @property
    def measure(self) -> str:
        """What is compared, as in `CallEvidence`."""
        ...

    @property
    def caller(self) -> int:
        """The operation that calls, 0 = `operation` by itself."""
        ...

    @property
    def operation(self) -> int:
        """The operation that is called."""
        ...

    @property
    def since_ns(self) -> int:
        """When it began."""
        ...

    @property
    def time_ns(self) -> int:
        """When it alarmed."""
        ...

    @property
    def p_value(self) -> float:
        """Never 0; low = rare."""
        ...

    @property
    def score(self) -> float:
        """0..1."""
        ...

    @property
    def surprise(self) -> float:
        """In bits, unbounded."""
        ...

    @property
    def calls(self) -> int:
        """Calls, or traces, looked at."""
        ...

    @property
    def affected(self) -> int:
        """So many of them are odd."""
        ...

    @property
    def value(self) -> float:
        """What came."""
        ...

    @property
    def usual(self) -> float:
        """What usually comes."""
        ...

    @property
    def instance(self) -> int:
        """Who sent most of the odd ones."""
        ...

    @property
    def suspects(self) -> Sequence[tuple[int, float]]:
        """Services with their bits, in any order."""
        ...

    @property
    def calls_more(self) -> Sequence[OddCall]:
        """Other odd edges of the same alarm."""
        ...

    @property
    def examples(self) -> Sequence[SeenTrace]:
        """Traces that show it, the best first."""
        ...

    @property
    def subtree(self) -> Sequence[Node]:
        """What is new or missing, in preorder."""
        ...

    @property
    def pool(self) -> int:
        """Whose calls they are: 0 = of `operation`, otherwise as in `POOL_MADE` and `POOL_CALLED`; only those of `instance`."""
        ...
