from array import array
from enum import IntEnum
from typing import Any, Final, NamedTuple, Self, final

from typing_extensions import Buffer

RULES_MAX: Final = 64
ELEMENTS_MAX: Final = 16
NAME_BYTES_MAX: Final = 256
TEXT_BYTES_MAX: Final = 268435456

class Kind(IntEnum):
    WHOLE = 0
    MASK = 1
    EMAIL = 2
    IP = 3
    CREDIT_CARD = 4
    JWT = 5
    BEARER = 6
    AWS_KEY = 7
    URL_PASSWORD = 8

class Sought(NamedTuple):
    kind: Kind
    attribute: bytes | None = None
    prefix: bool = False
    drops: bool = False
    elements: tuple[Any, ...] = ()
    starts_within: bool = False
    ends_within: bool = False

class Found(NamedTuple):
    lines: array[int]
    starts: array[int]
    ends: array[int]
    rules: array[int]
    steps: int

class Replaced(NamedTuple):
    text: bytes
    lengths: array[int]
    records: int
    cut: int

@final
class Finder:
    def __new__(cls, rules: Any) -> Self: ...
    @property
    def rules(self) -> tuple[Sought, ...]: ...
    def find(self, text: Buffer, lengths: Buffer) -> Found | None: ...

def replaced(text: Buffer, lengths: Buffer, found: Any, marks: list[bytes], growth_bytes_max: int) -> Replaced: ...
