from array import array
from enum import IntEnum
from typing import Final, NamedTuple, Self, final

WINDOW_MAX: Final = 400
INSTANCES_MAX: Final = 256
INSTANCES_MOST: Final = 4096
TEMPLATES_MAX: Final = 320
TEMPLATES_MOST: Final = 4096
EPISODES_MAX: Final = 256
COST_MAX: Final = 409600
RARE: Final = 0.05

class Question(IntEnum):
    NOVEL = 0
    MIX = 1
    FROZEN = 2

class Verdict(NamedTuple):
    line: int
    instance: int
    p_value: float
    confidence: float
    surprise: float
    distance: float
    question: Question
    template: int
    observed: float
    expected: float

@final
class Instances:
    window: int
    instances_max: int
    templates_max: int
    def __new__(cls, *, window: int, instances_max: int = 256, templates_max: int = 320) -> Self: ...
    def take_lines(self, instances: array[int], templates: array[int], costs: array[int]) -> list[Verdict]: ...
    def parts(self) -> bytes: ...
    def restore(self, parts: bytes) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int: ...
