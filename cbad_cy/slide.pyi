from array import array
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Self, final

from cbad_cy.codec import Codec, Prepared
from cbad_cy.codelength import Coder
from cbad_cy.content import Content
from cbad_cy.instances import Instances
from cbad_cy.mix import Mix
from cbad_cy.pool import Pool
from cbad_cy.rank import Sample

EPOCHS_A_BASELINE: Final = 4
BATCH_BYTES_MAX: Final = 1073741824
NEVER: Final = 18446744073709551614
QUESTIONS: Final[tuple[str, ...]]
SHARES: Final[MappingProxyType[str, float]]

class Said(NamedTuple):
    question: str
    p_value: float
    distance: float
    surprise: float
    confidence: float

class Suspect(NamedTuple):
    template: int
    instance: int
    observed: float
    expected: float
    horizon: int

class Window(NamedTuple):
    number: int
    end: int
    size: int
    plain: int
    given: int
    bits: float
    distance: float
    usual: float
    p_value: float
    confidence: float
    entropy: float
    flagged: bool
    question: str
    surprise: float
    said: tuple[Said, ...]
    suspect: Suspect

class MinuteTold(NamedTuple):
    minute: int
    events: int
    windows: int
    surprise: float
    distance: float
    p_value: float

def minutes_of(times_ns: array[int], slide: Slide | None = None) -> list[MinuteTold]: ...

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
        coder: Coder | None = None,
        content_only: bool = False,
    ) -> Self: ...
    @property
    def content_only(self) -> bool: ...
    @property
    def lines(self) -> int: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def content(self) -> Content: ...
    @property
    def mix(self) -> Mix: ...
    @property
    def instances(self) -> Instances: ...
    @property
    def compressions(self) -> Sample: ...
    @property
    def entropies(self) -> Sample: ...
    @property
    def prepared(self) -> Prepared | None: ...
    @property
    def baseline(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    def feed(
        self,
        text: bytes | bytearray | memoryview,
        lengths: array[int],
        slots: array[int] | None = None,
        slot_counts: array[int] | None = None,
        instances: array[int] | None = None,
    ) -> None: ...
    def advance(
        self,
        codec: Codec,
        *,
        distance_threshold: float,
        p_value_threshold: float,
        watch: bool = False,
        look_at: int = ...,
    ) -> Window | None: ...
    def dictionary(self, codec: Codec) -> bytes: ...
    def templates(self, count: int) -> array[int]: ...
    def line_costs(self) -> list[int]: ...
    def window_costs(self) -> list[tuple[int, int, bool, list[tuple[int, int, int, int]]]]: ...
    def odd_one(self) -> tuple[float, float, float, float, float, float, int, int, int] | None: ...
    def window_lines(self) -> list[bytes]: ...
    def window_flags(self) -> list[bool]: ...
    def restore_window(
        self,
        lines: Sequence[bytes],
        flags: Sequence[bool],
        costs: Sequence[tuple[int, int, bool, Sequence[tuple[int, int, int, int]]]],
        *,
        taken: int,
        windows: int,
        accepted: int,
        odd_one: tuple[float, float, float, float, float, float, int, int, int] | None,
        codec: Codec,
        dictionary: bytes | None,
    ) -> None: ...
