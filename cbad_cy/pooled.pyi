"""Weak evidence of many series, added up by resource and minute: what one series alone does not prove."""

from array import array
from typing import Final, NamedTuple, Self, final

STRONGEST_MAX: Final = 5
SERIES_BYTES: Final[int]
PARTS_BYTES: Final[int]
SERIES_MAX_MOST: Final = 1048576
VERSION: Final = 1

class Strong(NamedTuple):
    """One of the series that were the most unusual in a minute.

    `value`: mean of its points in the minute; `expected`: its level in the long run; `low`, `high`: where it usually is;
    `digits`: -log10 of how improbable the value is, from 1 up to 3.5, higher = stranger.
    """

    series: int
    value: float
    expected: float
    low: float
    high: float
    digits: float

class Gathered(NamedTuple):
    """What the series of a resource said in a minute (counted since 1970), once the minute is over.

    `points` were taken from `series` series, of which `odd` were unusual (one in ten by themselves, or rarer). `digits`: the
    sum over the series of their -log10 p beyond half a digit, three digits each at most: weak evidence in many adds up,
    strong evidence in one does not drown the others. `strongest`: the unusual ones, the strongest first, at most STRONGEST_MAX,
    where `digits` is 3 or more, else none.
    """

    minute: int
    resource: int
    points: int
    series: int
    odd: int
    digits: float
    strongest: tuple[Strong, ...]

@final
class Gatherer:
    """Where each series usually is, `SERIES_BYTES` each, and the open minute of each resource. Not thread safe.

    At most `series_max` resources have an open minute; what further ones say is learned but not gathered. Raises ValueError
    for a `series_max` outside 1..SERIES_MAX_MOST.
    """

    series_max: int
    def __new__(cls, *, series_max: int) -> Self: ...
    def __len__(self) -> int: ...
    def __contains__(self, series: int, /) -> bool: ...
    def take(
        self, series: array[int], resources: array[int], times_ns: array[int], values: array[float], status: bytes = b""
    ) -> None:
        """Points in their order of arrival: arrays of type 'Q', 'Q', 'Q', 'd' and equal length.

        `resources` has a number for the resource of each point, any 64 bits (0 is one of them); a series stays with its
        resource. `status` is that of `cbad_cy.series.Feed`: only points with 0 are taken ("" = all), and of those only finite
        ones. A minute of a resource is over when it has as many points as the one before (so that it need not be waited for),
        when one of its points is of a later one, or any point is two minutes ahead. Points that are late count in the
        resource's open minute; those that come when it is over are learned only. How points are cut into batches changes
        nothing, as long as `closed` is asked for afterwards. ValueError, before anything is learned, for series 0, and when the
        new series would be more than `series_max` in all: drop others first.
        """
    def closed(self) -> list[Gathered]:
        """The minutes that are over and were not given yet, by minute, then resource. Each pair comes once."""
    def parts(self, series: int) -> bytes:
        """All that is known of a series, PARTS_BYTES: equal pasts give equal bytes. KeyError: unknown."""
    def restore(self, series: int, parts: bytes) -> None:
        """Put back what `parts` gave, in place of what is known of this series.

        ValueError for bytes that are damaged or of another version, for series 0 and beyond `series_max`; nothing changes.
        """
    def drop(self, series: int) -> None:
        """Forget it; what it said in the open minute stays said. KeyError: unknown."""
    def open_parts(self) -> bytes:
        """The open minutes of all resources, and those that are over and not yet given."""
    def open_restore(self, parts: bytes) -> None:
        """Continue with what `open_parts` gave. ValueError for bytes that are damaged or of another version."""

def digits_of(p: float) -> float:
    """-log10 p for p in (0, 1], the same on every machine. ValueError outside."""

def share_of(digits: float) -> float:
    """10 to the power -digits, at least 1e-300, the same on every machine. ValueError below 0."""
