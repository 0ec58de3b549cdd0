from array import array
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple, Self, final

LINE_BYTES_MAX: Final = 1048576
TEXT_BYTES_MAX: Final = 268435456
SLOTS_MAX: Final = 16
MASKS_MAX: Final = 16
MASK_ELEMENTS_MAX: Final = 16
MASK_LITERAL_BYTES_MAX: Final = 128
MASK_NAME_BYTES_MAX: Final = 16

class TokenKind(IntEnum):
    WORD = 0
    PUNCT = 1
    SHAPE = 2
    NUMBER = 3
    UUID = 4
    IP = 5
    TIME = 6
    VALUE = 7
    HEX = 8
    OPAQUE = 9
    DATE = 10
    PATH = 11
    MASK = 12

class Run(NamedTuple):
    members: bytes
    least: int = 1
    most: int = 1048576

class MaskPattern(NamedTuple):
    name: bytes
    elements: tuple[bytes | Run, ...]
    starts_within: bool = False
    ends_within: bool = False

@final
class Masks:
    @property
    def patterns(self) -> tuple[MaskPattern, ...]: ...
    def __new__(cls, patterns: Iterable[MaskPattern]) -> Self: ...

def mask(
    text: bytes | bytearray | memoryview,
    lengths: array[int],
    *,
    line_bytes_max: int,
    paths_as_slots: bool = False,
    masks: Masks | None = None,
) -> tuple[bytes, array[int]]: ...
def mask_with_slots(
    text: bytes | bytearray | memoryview,
    lengths: array[int],
    *,
    line_bytes_max: int,
    paths_as_slots: bool = False,
    masks: Masks | None = None,
) -> tuple[bytes, array[int], array[int], array[int]]: ...
def mask_line(line: bytes | bytearray | memoryview, *, paths_as_slots: bool = False, masks: Masks | None = None) -> bytes: ...
def tokens(
    line: bytes | bytearray | memoryview, *, paths_as_slots: bool = False, masks: Masks | None = None
) -> list[tuple[int, int, int, int, int]]: ...
def slots(line: bytes | bytearray | memoryview, *, masks: Masks | None = None) -> list[bytes]: ...
def scan_steps(line: bytes | bytearray | memoryview, *, masks: Masks | None = None) -> int: ...
