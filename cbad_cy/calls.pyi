"""How long calls take and whether they fail, beside the past of the same call; and which service is the most probable cause.

Nothing is asked of a stream: no training, no threshold of milliseconds. Each closed trace is judged, then learned.

Durations. A span counts with its self time, so a caller of something slow is not slow. A client span (or one of unspecified
kind) with a child in another service is an edge: its self time is the gap between what the client and the server took. The past
of an operation, or of an edge, is a decaying histogram of quarter octaves; how rare a duration is, is the share of that past
which is as long, 30 % of slack given, with a tail of one bit an octave beyond its record. When the median service is slow, all
are compared with slower calls, up to an octave.

Failures. An operation fails by itself when its span has an error and none of its children has. The past is a decaying rate.

Alarms. For each operation, edge, service (what it does; how it is called) and instance of a service that has several, eight
CUSUM statistics (Page, "Continuous inspection schemes", Biometrika 41, 1954) add log likelihood ratios: from one call in 250
that is far slower than ever to all calls a bit slower; from one failure in 500 to nine in ten. Where they alarm is set by the
excursions that they made before. What can be gained in a moment is limited: one pause of a machine is one event.

Causes. An odd edge speaks against both its ends, usual calls of a service for it; the bits of each service are summed.

In a trace in which spans were cut or that was closed early, self times mean nothing; it counts for the graph only.
"""

import builtins
from array import array
from typing import Final, Self, final

from cbad_cy.judgement import Judgement
from cbad_cy.traces import Closed

ALARM_LEVEL: Final[float]
CALLS_VERSION: Final[int]
OPERATIONS_MAX_MOST: Final[int]
EDGES_MAX: Final[int]
INSTANCES_MAX: Final[int]
GRAPH_EDGES_MAX: Final[int]
EXAMPLES_MAX: Final[int]
PATH_MAX: Final[int]
SUSPECTS_MAX: Final[int]
ODD_CALLS_MAX: Final[int]

@final
class CallTable:
    """Pasts of calls of one stream of traces. Not thread safe.

    Operations and services are numbers from 1 to `operations_max`. `alarm_level` (> 0, finite, settable) is in bits: log2 of
    the seconds between false alarms about durations that excursions of the past promise; those about failures are three
    times rarer. ValueError for an `operations_max` outside 1..OPERATIONS_MAX_MOST.

    Bounds: EDGES_MAX edges (the calls of others count to their operation), INSTANCES_MAX instances (for a new one another that
    was not seen lately is forgotten), GRAPH_EDGES_MAX edges between services (others are not counted).
    """

    operations_max: int
    alarm_level: float
    def __new__(cls, *, operations_max: int = 4096) -> Self: ...
    def feed(self, closed: Closed, services: array[int]) -> list[Judgement]:
        """Judge and learn closed traces in their order; -> alarms in the order in which they came. The GIL is released once.

        `services` ('I') holds the service of each operation by its number; that of an operation never changes. How traces are
        cut into batches changes nothing. What goes on is told again once a minute, as long as new bits come; after half an hour
        it is usual.
        ValueError, before anything is learned: columns that do not fit together, numbers out of range.
        """
    def graph(self) -> list[tuple[int, int, int, int, float, float, int, int]]:
        """Calls between services, by caller and callee.

        Caller (0 = where traces begin), callee, calls, calls that failed, median and 99 % quantile of about the newest thousand
        durations in s, event times of the first and of the latest call in ns. A call is as the client span shows it, if there
        is one, otherwise as the span of the callee.
        """
    @property
    def operations(self) -> int:
        """Operations that are known."""
    @property
    def edges(self) -> int:
        """Edges between operations that are known."""
    @property
    def instances(self) -> int:
        """Instances that are known."""
    @property
    def edges_overflowed(self) -> int:
        """Calls that count to their operation, because there are EDGES_MAX edges."""
    @property
    def graph_overflowed(self) -> int:
        """Calls that are not in the graph, because it has GRAPH_EDGES_MAX edges."""
    def parts(self) -> builtins.bytes:
        """Everything it knows but its alarm level; equal pasts give equal bytes."""
    def restore(self, parts: builtins.bytes) -> None:
        """Put back what `parts` gave, into a table that was not fed: from then on both behave alike.

        ValueError for bytes that are damaged, of another version or of more operations, and for a table in use; nothing
        changes.
        """
