from array import array
from typing import Final

PERMUTATIONS_MAX: Final = 10000
LINES_MAX: Final = 65536
TEXT_BYTES_MAX: Final = 1048576
COST_BITS_MAX: Final = 65536

def permute(
    text: bytes | bytearray | memoryview,
    lengths: array[int],
    window_counts: array[int],
    rest_counts: array[int],
    *,
    line_bits: int,
    first_bits: int,
    byte_bits: int,
    order_bits: int,
    seed: int,
    draws_max: int,
    exceedances_max: int,
) -> tuple[int, int, int]: ...
