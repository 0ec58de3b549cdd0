from array import array
from enum import IntEnum
from typing import Final

LINE_BYTES_MAX: Final = 1048576
TEXT_BYTES_MAX: Final = 268435456
SLOTS_MAX: Final = 16

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

def mask(
    text: bytes | bytearray | memoryview, lengths: array[int], *, line_bytes_max: int, paths_as_slots: bool = False
) -> tuple[bytes, array[int]]: ...
def mask_with_slots(
    text: bytes | bytearray | memoryview, lengths: array[int], *, line_bytes_max: int, paths_as_slots: bool = False
) -> tuple[bytes, array[int], array[int], array[int]]: ...
def mask_line(line: bytes | bytearray | memoryview, *, paths_as_slots: bool = False) -> bytes: ...
def tokens(line: bytes | bytearray | memoryview, *, paths_as_slots: bool = False) -> list[tuple[int, int, int, int, int]]: ...
def slots(line: bytes | bytearray | memoryview) -> list[bytes]: ...
def scan_steps(line: bytes | bytearray | memoryview) -> int: ...
