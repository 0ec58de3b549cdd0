from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple, Self, final

from cbad_cy.codec import Codec, Prepared
from cbad_cy.pool import Pool
from cbad_cy.rank import Reference, Sample

EPOCHS_A_BASELINE: Final = 4
BATCH_BYTES_MAX: Final = 1073741824

class Window(NamedTuple):
    number: int
    end: int
    size: int
    plain: int
    given: int
    distance: float
    usual: float
    p_value: float
    confidence: float
    entropy: float
    flagged: bool

@final
class Slide:
    windows: int
    def __new__(
        cls,
        *,
        baseline: int,
        window: int,
        hop: int,
        memory: int,
        past_bytes_max: int,
        reference: int,
        block: int,
        lag: int,
        normals: int,
    ) -> Self: ...
    @property
    def lines(self) -> int: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def lengths(self) -> Reference: ...
    @property
    def shares(self) -> Reference: ...
    @property
    def ratios(self) -> Sample: ...
    @property
    def compressions(self) -> Sample: ...
    @property
    def entropies(self) -> Sample: ...
    @property
    def prepared(self) -> Prepared: ...
    @property
    def baseline(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    def feed(self, text: bytes | bytearray | memoryview, lengths: array[int]) -> None: ...
    def advance(
        self, codec: Codec, *, distance_threshold: float, p_value_threshold: float, watch: bool = False
    ) -> Window | None: ...
    def line_costs(self) -> list[int]: ...
    def window_lines(self) -> list[bytes]: ...
    def window_flags(self) -> list[bool]: ...
    def restore_window(
        self,
        lines: Sequence[bytes],
        flags: Sequence[bool],
        *,
        taken: int,
        windows: int,
        accepted: int,
        codec: Codec,
        dictionary: bytes | None,
    ) -> None: ...

def ascending(times: array[int]) -> bool: ...
def largest(lengths: array[int]) -> int: ...
