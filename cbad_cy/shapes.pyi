"""Traces with a part that is new, missing, or repeated otherwise than usual; calls between services that are new, or gone.

Each closed trace is read as a set of features of its tree. For every operation p in it and every child operation c of it:

    R_k(p, c)  the largest number of c's under one p is at least 1, 2, 3, 5, 9, 17, 33
    M(p, c)    a p without error lacks a c, although c is known to be called by p; only in traces that are complete
    B(o)       a client's or producer's span has no child, and no error

A client's or producer's span that has a child is an operation of its own together with that child's: clients are often called
by the method alone. One without child, whose operation usually has one (in nine of ten), has lost the other side's spans: it
stands for nothing, or, where its status is an error, for a call that was refused; what it may have called is not missing.

A feature occurs or not in each trace that visits p (B: in each span of o): a trial. What is usual is the highest rate that its
past allows: its share, how far that wandered from block to block, its peaks, and what is not known yet; of M at least the
share of traces that lost spans lately. Beyond it four sequential tests against higher rates (Page, "Continuous inspection
schemes", Biometrika 41, 1954) gather bits. As long as a feature keeps to its usual rate, one of them reaches `alarm_level`
bits about once in 2^alarm_level trials (Lorden, "Procedures for reacting to a change in distribution", 1971). Missing spans of
a service that is called (B of clients, M under clients and producers) alarm when they are most of them, and after three
minutes; what else is missing in a quarter of them or more alarms when that lasts 45 seconds, as spans of a sender may come
late. What goes on is told again once a minute, as long as new bits come; what lasts is learned after two hours. All traces
together and those of each root operation are judged alike, and what both say is told only once. A single trace never alarms,
and neither does a new root operation, another order of parts, or a part that some traces lack anyway and a few more do.
"""

from array import array
from typing import Final, Self, final

from cbad_cy.judgement import Judgement
from cbad_cy.traces import Closed

ALARM_LEVEL: Final = 34.0
SHAPES_VERSION: Final = 1
OPERATIONS_MAX: Final = 4096
OPERATIONS_MAX_MOST: Final = 65536
PAIRS_MAX: Final = 8192
ROOTS_MAX: Final = 32
PLACES_MAX: Final = 65536
EDGES_MAX: Final = 131072
FEATURES_MAX: Final = 131072
BOUND_MOST: Final = 4194304
CHILDREN_MAX: Final = 64
LINKS_MAX: Final = 65536
STORIES_MAX: Final = 256
EXAMPLES_MAX: Final = 3
PATH_MAX: Final = 32
SUBTREE_MAX: Final = 40
SUBTREE_DEPTH_MAX: Final = 16
FEATURE_BYTES: Final[int]

@final
class ShapeTable:
    """The pasts of features of traces. Not thread safe.

    `operations_max` bounds the numbers of operations, the others what is kept: clients with the operation behind them, root
    operations with a past of their own, operations visited in each of these pasts, children in each, and features of
    FEATURE_BYTES each. What is over a bound is not judged and counted in `overflowed`; the past of all traces together always
    has a quarter of the room for itself. `alarm_level` (> 0, finite) is in bits; it can be set at any time. ValueError: a bound
    out of range (1..BOUND_MOST, `operations_max` 1..OPERATIONS_MAX_MOST).
    """

    operations_max: int
    pairs_max: int
    roots_max: int
    places_max: int
    edges_max: int
    features_max: int
    alarm_level: float
    def __new__(
        cls,
        *,
        operations_max: int = 4096,
        pairs_max: int = 8192,
        roots_max: int = 32,
        places_max: int = 65536,
        edges_max: int = 131072,
        features_max: int = 131072,
        alarm_level: float = 34.0,
    ) -> Self: ...
    def __len__(self) -> int:
        """Features that ever occurred and are watched."""
    def feed(self, closed: Closed, services: array[int]) -> list[Judgement]:
        """Judge, then learn, traces in the order in which they closed; how they are cut into batches changes nothing.

        `services` ('I') has the service of each operation, by number; 0 is none. The GIL is released once. ValueError, before
        anything is learned: columns that do not fit together, a parent that does not come before its child, an operation
        outside 1..`operations_max` or without service.
        """
    @property
    def traces(self) -> int:
        """Traces ever fed."""
    @property
    def overflowed(self) -> int:
        """Occurrences of what could not be watched for want of room."""
    def parts(self) -> bytes:
        """Everything it knows; equal pasts give equal bytes. Columns that lie one after another, not compressed."""
    def restore(self, parts: bytes) -> None:
        """Put back what `parts` gave, into a table that was never fed: from then on both behave alike.

        The alarm level is not in it. ValueError for bytes that are damaged, of another version, or that do not fit this table's
        bounds, and for a table in use; nothing changes.
        """
