from array import array
from typing import Final, NamedTuple, Self, final

WARM_KEYS: Final = 300
ALARM_BITS: Final = 14
NOT_LEARNED_BITS: Final = 7
CAP_BITS: Final = 400
PAST_KEYS: Final = 512
NEIGHBOUR_KEYS: Final = 4
RUNG_AGES_NS: Final[tuple[int, ...]]
SETS_MAX: Final = 64
RUNG_TEMPLATES_MAX: Final = 128
KEY_TEMPLATES_MAX: Final = 64
KEY_BYTES_KEPT: Final = 40
DETAILS_MAX: Final = 8
TEXTS_MAX: Final = 1024
TEXT_BYTES_KEPT: Final = 120
KEYS_MAX: Final = 16384
KEYS_MAX_MOST: Final = 1048576
BYTES_MAX: Final = 4194304
BYTES_MAX_LEAST: Final = 65536
BYTES_MAX_MOST: Final = 1073741824
PATTERN_BYTES_MAX: Final = 256
TEXT_BYTES_MAX: Final = 268435456

class Surprise(NamedTuple):
    text: bytes
    bits: float
    present: bool

class Judgement(NamedTuple):
    key: bytes
    key_cut: bool
    key_hash: int
    score: float
    code: float
    usual: float
    p_value: float
    confidence: float
    age_ns: int
    events: int
    first_event: int
    last_event: int
    first_ns: int
    last_ns: int
    decided: bool
    alarmed: bool
    closed: bool
    surprises: tuple[Surprise, ...]
    at_event: int
    at_ns: int

def token_spans(text: bytes, lengths: array[int], prefix: bytes) -> tuple[array[int], array[int]]: ...
def attribute_spans(text: bytes, lengths: array[int], name: bytes) -> tuple[array[int], array[int]]: ...
def covered(text: bytes, starts: array[int], sizes: array[int]) -> bytes: ...
def trace_spans(trace_ids: bytes) -> tuple[array[int], array[int]]: ...

@final
class Keyset:
    keys_max: int
    bytes_max: int
    def __new__(cls, *, keys_max: int = 16384, bytes_max: int = 4194304) -> Self: ...
    def __len__(self) -> int: ...
    def feed(
        self,
        source: bytes,
        starts: array[int],
        sizes: array[int],
        lines: bytes,
        lengths: array[int],
        times_ns: array[int],
        *,
        first_event: int,
        threshold: float,
        watch: bool = False,
    ) -> list[Judgement]: ...
    def pass_time(self, now_ns: int, *, threshold: float, watch: bool = False) -> list[Judgement]: ...
    def flush(self, *, threshold: float, watch: bool = False) -> list[Judgement]: ...
    def keys_until_alarm(self, threshold: float) -> int: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def closed(self) -> int: ...
    @property
    def templates_cut(self) -> int: ...
    @property
    def alarms(self) -> int: ...
    @property
    def alarm_share(self) -> float: ...
    @property
    def size(self) -> int: ...
    @property
    def deciding_ages_ns(self) -> tuple[int, ...]: ...
    def parts(self) -> bytes: ...
    def restore(self, parts: bytes) -> None: ...
