from array import array
from enum import IntEnum
from typing import Final, NamedTuple, Self, final

WINDOW_MAX: Final = 400
HORIZON_MAX: Final = 1000
KNOWN_MAX: Final = 191
PAIRS_MAX: Final = 1024
BLOCKS_MIN: Final = 6
FURTHER: Final = 16

class Question(IntEnum):
    RATE_MORE = 0
    RATE_LESS = 1
    ORDER = 2
    REPEAT = 3

class Judged(NamedTuple):
    p_value: float
    confidence: float
    surprise: float
    distance: float
    question: Question
    template: int
    observed: float
    expected: float
    horizon: int

@final
class Mix:
    window: int
    hop: int
    lines: int
    def __new__(cls, *, window: int, hop: int) -> Self: ...
    def take_lines(self, templates: array[int]) -> None: ...
    def judged(self) -> Judged: ...
    def horizons(self) -> tuple[int, int]: ...
    @property
    def size(self) -> int: ...
    def parts(self) -> bytes: ...
    def restore(self, parts: bytes) -> None: ...
