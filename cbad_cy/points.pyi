"""What metric points say as plain numbers: counters as rates, histograms as rate, mean, quantiles and change of shape.

A raw series is what a sender names; of each, one or more derived series of plain numbers are told, one for each of its ROLES:

    kind                        role: number
    GAUGE, CHANGE               "": the value
    DELTA                       "rate": value by the seconds from start to time (start unknown: since the point before)
    CUMULATIVE                  "rate": increase since the point before by the seconds since then
    HISTOGRAM_DELTA, _CUMULATIVE  "rate": observations a second; also "mean" (sum by count), "p50", "p99" and "shape"
    SUMMARY                     "rate" and "mean" as of a cumulative histogram, and some quantiles as the sender computed them
    STALE                       none

Of a summary the first SUMMARY_QUANTILES_MAX quantiles are told: "p0" .. "p100" where the quantile has such a role, else "q1"
.. "q5" by its place. An interval without observations has the rate 0 and tells nothing else. Quantiles are linear within a
bucket; the first one begins at 0 (with an upper bound of 0 or less it is that bound), and in one without an upper bound they
are its lower bound. "shape" is n KL(interval || past) in bits, n observations by bucket against the bucket frequencies of the
past (with half an observation more in each, Krichevsky-Trofimov; a point weighs SHAPE_DECAY of the one after it), from the
SHAPE_POINTS_MIN-th interval with observations on. Low = as ever.

A counter is reset when its start moves by START_SLACK_NS or more, or lies after the point before, or when its number falls.
Where the new start lies at or after the point before and at least a quarter of the gap ago, the point tells its number by the
seconds since its start; otherwise it is only the base of the next one (status FIRST). So resets look neither like a spike nor
like a drop. A start that equals the time of its point marks an unknown start: a base too, unless the point before was like
that as well: then starts say nothing. Starts after their point are unknown. Buckets are compared at the bounds below which
both sides say how many observations lie: bounds of both, and bounds of one within empty buckets of the other. When less than
half of the bounds can be compared with the past, the past begins anew.

Sources: OpenTelemetry specification, "Metrics Data Model" (resets and gaps, exponential histograms); Krichevsky and Trofimov,
"The performance of universal encoding", IEEE Transactions on Information Theory 27 (1981).
"""

from array import array
from typing import Final, NamedTuple, Self, final

ROLES: Final[tuple[str, ...]]
SERIES_MAX_MOST: Final = 1048576
NUMBER_BYTES: Final[int]
HISTOGRAM_BYTES: Final[int]
BUCKETS_KEPT: Final = 140
SUMMARY_QUANTILES_MAX: Final = 5
SHAPE_POINTS_MIN: Final = 10
SHAPE_DECAY: Final = 0.99
START_SLACK_NS: Final = 1000000000
TAKEN: Final = 0
FIRST: Final = 1
DUPLICATE: Final = 2
LATE: Final = 3
NOT_A_NUMBER: Final = 4
STALE: Final = 5

def derived_number(series: int, role: int) -> int:
    """The number of the series that is derived from raw `series` in the role ROLES[role]; 64 bits, never 0.

    splitmix64's finalizer of series ^ (role + 1) * 0x9E3779B97F4A7C15 modulo 2**64, 1 where that is 0. IndexError: no such
    role.
    """

class Taken(NamedTuple):
    """Plain numbers in the order of the points; of one point rate, mean, quantiles, shape.

    `record` (type 'I'): index of the point; `part`: a byte each, index into ROLES; `series` ('Q'): number of the derived
    series; `times_ns` ('Q'): time of the point; `values` ('d'): always finite.
    `status`: a byte for each point: 0 taken; 1 the first of a counter, or after a reset: no rate yet; 2 duplicate (the time of
    the point before); 3 late (time steps back); 4 not a number (NaN, infinite, impossible buckets, a monotonic delta below 0);
    5 stale: the series says that it ends. Of 2, 3 and 4 nothing is learned; 5 forgets the number before, so that a return is no
    jump.
    """

    record: array[int]
    part: bytes
    series: array[int]
    times_ns: array[int]
    values: array[float]
    status: bytes

@final
class Points:
    """The newest point of many raw series: NUMBER_BYTES each, and HISTOGRAM_BYTES more for a histogram. Not thread safe.

    Raises ValueError for a `series_max` outside 1..SERIES_MAX_MOST.
    """

    series_max: int
    def __new__(cls, *, series_max: int) -> Self: ...
    def __len__(self) -> int: ...
    def __contains__(self, series: int, /) -> bool: ...
    def take(
        self,
        series: array[int],
        times_ns: array[int],
        starts_ns: array[int],
        kinds: bytes,
        values: array[float],
        counts: array[float],
        sums: array[float],
        shape_sizes: array[int],
        shape_at: array[float],
        shape: array[float],
    ) -> Taken:
        """Take points in their order of arrival; the GIL is released once. How they are cut into batches changes nothing.

        `series` ('Q') are numbers of raw series (never 0), the other columns those of a batch of records, of which all but
        `times_ns` and `values` may be empty: all gauges, no starts, no counts, no sums, no shapes. A histogram of more than
        BUCKETS_KEPT buckets is merged by neighbouring pairs until it fits. A series that changes its kind begins anew.
        ValueError, before anything is learned: columns that do not fit together, a kind that is not known, series 0, and more
        than `series_max` series in all: make room first (see `drop`).
        """
    def derived(self, series: int) -> tuple[int, ...]:
        """Numbers of the derived series that it has told so far, in the order of ROLES. KeyError: unknown."""
    def roles(self, series: int) -> tuple[int, ...]:
        """The roles in which it has told numbers so far, as indexes into ROLES, ascending. KeyError: unknown."""
    def last_ns(self, series: int) -> int:
        """Time of its newest point; 0 = it has none yet. KeyError: unknown."""
    def parts(self, series: int) -> bytes:
        """All that is known of it: equal pasts give equal bytes. KeyError: unknown."""
    def restore(self, series: int, parts: bytes) -> None:
        """Put back what `parts` gave, in place of what is known of this series.

        ValueError for bytes that are damaged or of another version, for series 0 and beyond `series_max`; nothing changes.
        """
    def drop(self, series: int) -> None:
        """Forget it. KeyError: unknown."""
