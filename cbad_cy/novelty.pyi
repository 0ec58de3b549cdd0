from array import array
from typing import Final, Self, final

GRAM_BYTES_MIN: Final = 2
GRAM_BYTES_MAX: Final = 8
LINE_BYTES_MAX: Final = 1048576
REFERENCE_BYTES_MAX: Final = 4194304

@final
class Coverage:
    def __new__(cls, reference: bytes | bytearray | memoryview, gram: int = 6) -> Self: ...
    @property
    def reference(self) -> bytes: ...
    @property
    def gram(self) -> int: ...
    def novel_spans(self, line: bytes | bytearray | memoryview) -> list[tuple[int, int]]: ...
    def shared(self, line: bytes | bytearray | memoryview) -> int: ...

def nearest(
    line: bytes | bytearray | memoryview, reference_text: bytes | bytearray | memoryview, lengths: array[int], gram: int = 4
) -> int: ...
