from array import array
from typing import Final, NamedTuple, Self, final

BIT: Final = 1024
CAP_BITS: Final = 400
BYTES_MAX: Final = 98304
BYTES_MAX_LEAST: Final = 4096
BYTES_MAX_MOST: Final = 16777216
HALVING_EVENTS: Final = 32768
VALUES_MAX: Final = 32
TOKENS_LEARNED_MAX: Final = 256
MARKS_MAX: Final = 16
LINE_BYTES_MAX: Final = 1048576

class Breakdown(NamedTuple):
    total: float
    template: float
    new: bool
    tokens: list[tuple[int, int, float]]
    slots: list[float]

@final
class Coder:
    bytes_max: int
    def __new__(cls, *, bytes_max: int = 98304, halving_events: int = 32768) -> Self: ...
    def code(
        self, text: bytes, lengths: array[int], slots: array[int], slot_counts: array[int], *, context: int, learn: bool
    ) -> tuple[array[int], array[int]]: ...
    def learn_lines(
        self, text: bytes, lengths: array[int], slots: array[int], slot_counts: array[int], contexts: array[int]
    ) -> None: ...
    def explain(self, line: bytes, slots: array[int], *, context: int) -> Breakdown: ...
    def marks(self, line: bytes, slots: array[int], *, context: int) -> list[tuple[int, int, int, float]]: ...
    def reset(self) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def events(self) -> int: ...
    def parts(self) -> bytes: ...
    def restore(self, parts: bytes) -> None: ...

def template(line: bytes | bytearray | memoryview) -> int: ...
