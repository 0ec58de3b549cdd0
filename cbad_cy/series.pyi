from array import array
from typing import Final, NamedTuple, Self, final

ALARM_LEVEL: Final = 2.85
RANK_LEVEL: Final[float]
RANK_ALARMS_DAY: Final[float]
RANK_BURST: Final[int]
SERIES_VERSION: Final[int]
SERIES_BYTES: Final[int]
SERIES_MAX_MOST: Final = 1048576
CHART_POINTS: Final = 52
LEARNING_POINTS: Final = 300
MISSING_POINTS_MIN: Final = 30
MISSING_P_DAY: Final = 0.001
EXPERTS: Final[tuple[str, ...]]
CAUSES: Final[tuple[str, ...]]

class Alarm(NamedTuple):
    index: int  # type: ignore[assignment]
    series: int
    time_ns: int
    value: float
    bits: float
    p_value: float
    score: float
    surprise: float
    expected: float
    low: float
    high: float
    cause: str
    expert: int
    since_ns: int
    points: int

class Feed(NamedTuple):
    alarms: list[Alarm]
    status: bytes
    bits: array[float]
    p_value: array[float]
    score: array[float]
    expected: array[float]
    low: array[float]
    high: array[float]
    level: array[float]
    rank: array[float]

class Chart(NamedTuple):
    times_ns: array[int]
    values: array[float]
    expected: array[float]
    low: array[float]
    high: array[float]

@final
class SeriesTable:
    series_max: int
    alarm_level: float
    def __new__(cls, *, series_max: int, alarm_level: float = 2.85) -> Self: ...
    def __len__(self) -> int: ...
    def __contains__(self, series: int, /) -> bool: ...
    def feed(self, series: array[int], times_ns: array[int], values: array[float], *, watch: bool = False) -> Feed: ...
    def step_ns(self, series: int) -> int: ...
    def due_ns(self, series: int) -> int: ...
    def gap_p_value(self, series: int, gap_ns: int) -> float: ...
    def ids(self) -> array[int]: ...
    def last_ns(self, series: int) -> int: ...
    def points(self, series: int) -> int: ...
    def chart(self, series: int) -> Chart: ...
    def chart_of(self, alarm: Alarm) -> Chart: ...
    def parts(self, series: int) -> bytes: ...
    def restore(self, series: int, parts: bytes) -> None: ...
    def drop(self, series: int) -> None: ...
