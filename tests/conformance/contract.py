"""What every door through which records come in promises, whatever it speaks: cases in common terms, and one checker.

A door takes a `Parcel`, a description of a request, and tells its `Outcome`. What happened is then asked of the journal, of the
ledger and of the counters of the process, which all have to agree with the sums of the answers:
received == journaled + rejected + refused + deduplicated, and what is metered is what is journaled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum, StrEnum, auto
from typing import Any, Protocol

from driftlock.engine.event import Signal
from tests.collector.otlp_requests import T0

REQUEST_BYTES_MAX = 16 * 1024 * 1024
RECORDS_MAX = 100_000
INVALID = "INVALID-UTF-8"
"""Stands for that many bytes that are not UTF-8, wherever it is in a parcel."""


class Kind(StrEnum):
    """How a request ended, as its sender understands the answer."""

    ACCEPTED = auto()  # durable, all of it, without a word
    PARTIAL = auto()  # durable, but for some records that must not be sent again
    PERMANENT = auto()  # nothing was taken, and sending again would not help
    TOO_LARGE = auto()  # the same, because of its size
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()
    NO_SUCH_PLACE = auto()
    RETRYABLE = auto()  # nothing was taken; send again, at the earliest after the hint


class Shape(Enum):
    """What is wrong with a request as a whole."""

    WHOLE = auto()
    NO_RESOURCES = auto()
    NO_SCOPES = auto()
    NO_RECORDS = auto()
    MALFORMED = auto()  # cut off in the middle
    OVERSIZE = auto()  # more than the limit, not compressed
    BOMB = auto()  # more than the limit, once it is decompressed
    FLOOD = auto()  # more records than the limit, in few bytes
    ELSEWHERE = auto()  # to a service or path that there is not


@dataclass(frozen=True)
class Item:
    """A record. `attributes` may hold anything that a sender can nest; empty ids are left out."""

    body: str = "order placed"
    time_ns: int = T0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    trace_id: bytes = b""
    span_id: bytes = b""


@dataclass(frozen=True)
class Parcel:
    """A request in common terms. `key` "" = none is shown; equal parcels are equal bytes on every door."""

    signal: Signal
    items: tuple[Item, ...] = ()
    key: str = ""
    shape: Shape = Shape.WHOLE
    service: str = "shop"


@dataclass(frozen=True)
class Outcome:
    """What a door answered. `accepted` and `duplicate` are None where it does not say."""

    kind: Kind
    rejected: int = 0
    accepted: int | None = None
    retry_after_ms: int | None = None
    duplicate: bool | None = None
    message: str = ""


@dataclass(frozen=True)
class Differs:
    """Where a door keeps the promise in another way, and why."""

    kind: Kind
    why: str


class Door(Protocol):
    """A way in. `differs` names the cases that end otherwise here."""

    name: str
    signals: frozenset[Signal]
    differs: Mapping[str, Differs]

    async def send(self, parcel: Parcel) -> Outcome:
        """Send and wait for the answer."""
        ...


@dataclass(frozen=True)
class Case:
    """One parcel and how it ends: `kind`, with `rejected` of its records."""

    name: str
    parcel: Parcel
    kind: Kind
    rejected: int = 0
    records: int | None = None  # in the request; None: its items


def deep(arrays: int) -> Any:
    """A text in so many arrays."""
    value: Any = "x"
    for _ in range(arrays):
        value = [value]
    return value


def levels(value: Any) -> int:
    """How many values that is, one in the other."""
    count = 1
    while isinstance(value, list):
        value, count = value[0], count + 1
    return count


def items(count: int, **changes: Any) -> tuple[Item, ...]:
    return tuple(Item(f"order {number} placed", T0 + number, {"n": number}, **changes) for number in range(count))


def _good(signal: Signal, *more: Item) -> Parcel:
    return Parcel(signal, items(3) + more)


def cases() -> list[Case]:
    """All cases that need nothing but a request."""
    found: list[Case] = []
    for signal in Signal:
        good = _good(signal)
        empty = Parcel(signal)
        bad = Item("too deep", attributes={"a": deep(20)})
        found += [
            Case(f"ok-{signal}", good, Kind.ACCEPTED),
            Case(f"partial-{signal}", _good(signal, bad, Item("good", T0 + 9), bad), Kind.PARTIAL, 2),
            Case(f"all-bad-{signal}", Parcel(signal, (bad, bad)), Kind.PARTIAL, 2),
            Case(f"no-resources-{signal}", replace(empty, shape=Shape.NO_RESOURCES), Kind.ACCEPTED),
            Case(f"no-scopes-{signal}", replace(empty, shape=Shape.NO_SCOPES), Kind.ACCEPTED),
            Case(f"no-records-{signal}", replace(empty, shape=Shape.NO_RECORDS), Kind.ACCEPTED),
            Case(f"malformed-{signal}", replace(good, shape=Shape.MALFORMED), Kind.PERMANENT),
            Case(f"elsewhere-{signal}", replace(good, shape=Shape.ELSEWHERE), Kind.NO_SUCH_PLACE),
        ]
    logs, traces = Signal.LOGS, Signal.TRACES
    long_id = Item(trace_id=b"t" * 17, span_id=b"s" * 8)
    return [
        *found,
        Case("deeper-than-parsers-go", _good(logs, Item(attributes={"a": deep(60)})), Kind.PARTIAL, 1),
        Case("as-deep-as-allowed", _good(logs, Item(attributes={"a": deep(15)})), Kind.ACCEPTED),
        Case("invalid-utf-8", _good(logs, Item(f"a {INVALID} b")), Kind.ACCEPTED),
        Case("invalid-utf-8-in-a-key", _good(logs, Item(attributes={INVALID: 1})), Kind.ACCEPTED),
        Case("invalid-utf-8-in-a-resource", replace(_good(logs), service=f"shop {INVALID}"), Kind.ACCEPTED),
        Case("nul", _good(logs, Item("a\x00b", attributes={"k\x00": "v\x00"})), Kind.ACCEPTED),
        Case("nul-in-a-service", replace(_good(logs), service="a\x00b"), Kind.ACCEPTED),
        Case("no-time", _good(logs, Item(time_ns=0)), Kind.ACCEPTED),
        Case("largest-time", _good(logs, Item(time_ns=2**64 - 1)), Kind.ACCEPTED),
        Case("long-id-of-a-span", _good(traces, long_id), Kind.PARTIAL, 1),
        Case("long-id-of-a-log", _good(logs, long_id), Kind.ACCEPTED),
        Case("oversize", Parcel(logs, items(1), shape=Shape.OVERSIZE), Kind.TOO_LARGE),
        Case("bomb", Parcel(logs, items(1), shape=Shape.BOMB), Kind.TOO_LARGE),
        Case("flood", Parcel(logs, shape=Shape.FLOOD), Kind.PERMANENT, records=RECORDS_MAX + 1),
    ]


@dataclass(frozen=True)
class Ledger:
    """What the database says of a tenant, in records: rows of the journal once each, the meter, and the ledger's entries."""

    in_journal: int = 0
    metered: int = 0
    received: int = 0
    journaled: int = 0
    rejected: int = 0
    refused: int = 0
    deduplicated: int = 0

    @property
    def whole(self) -> bool:
        """Whether the laws hold, whatever was sent."""
        ends = self.journaled + self.rejected + self.refused + self.deduplicated
        return self.received == ends and self.in_journal == self.metered == self.journaled


@dataclass(frozen=True)
class Counted:
    """What a process has counted: records, but for `refusals`, which are requests that were answered with an error."""

    received: float = 0
    accepted: float = 0
    rejected: float = 0
    refused: float = 0
    duplicate: float = 0
    refusals: float = 0

    def __sub__(self, before: "Counted") -> "Counted":
        """What came since."""
        return Counted(*(getattr(self, each.name) - getattr(before, each.name) for each in fields(self)))

    @property
    def whole(self) -> bool:
        """Whether every record that was decoded ended in exactly one of the ways that there are."""
        return self.received == self.accepted + self.rejected + self.refused + self.duplicate


@dataclass
class Conservation:
    """Adds up what was sent and answered; `check` compares it with what the database says, `check_counted` with the process."""

    journaled: int = 0
    rejected: int = 0
    refused: int = 0
    deduplicated: int = 0
    refusals: int = 0

    def count(self, outcome: Outcome, records: int, *, duplicate: bool = False) -> None:
        """One request of so many records was answered so."""
        if outcome.kind not in (Kind.ACCEPTED, Kind.PARTIAL):
            self.refused += records
            self.refusals += outcome.kind is not Kind.NO_SUCH_PLACE
            return
        good = records - outcome.rejected
        self.rejected += outcome.rejected
        if duplicate:
            self.deduplicated += good
        else:
            self.journaled += good

    def check(self, ledger: Ledger) -> None:
        """Nothing more and nothing less is in the journal than was acknowledged, and that is what is metered.

        The ledger knows of no more refused records than there were; of those that were not decoded it knows nothing.
        """
        assert ledger.whole, (self, ledger)
        told = (ledger.in_journal, ledger.rejected, ledger.deduplicated)
        assert told == (self.journaled, self.rejected, self.deduplicated), (self, ledger)
        assert ledger.refused <= self.refused, (self, ledger)

    def check_counted(self, counted: Counted, ledger: Ledger) -> None:
        """The process has counted what was answered, each refused request once, and the same refused records as the ledger."""
        assert counted.whole, (self, counted)
        told = (counted.accepted, counted.rejected, counted.duplicate, counted.refusals)
        assert told == (self.journaled, self.rejected, self.deduplicated, self.refusals), (self, counted)
        assert (counted.received, counted.refused) == (ledger.received, ledger.refused), (counted, ledger)


def check_outcome(outcome: Outcome, kind: Kind, records: int, rejected: int) -> None:
    """The answer is of that kind and complete: numbers where it gives them, a hint exactly where it helps."""
    assert outcome.kind is kind, outcome
    assert (outcome.retry_after_ms is not None) == (kind is Kind.RETRYABLE), outcome
    if kind is Kind.ACCEPTED:
        assert outcome.rejected == 0, outcome
        assert outcome.accepted in (None, records), outcome
    elif kind is Kind.PARTIAL:
        assert (outcome.rejected, outcome.accepted) in ((rejected, None), (rejected, records - rejected)), outcome
        assert 0 < len(outcome.message.encode()) <= 1024, outcome
    else:
        assert outcome.message, outcome
    if kind is Kind.RETRYABLE:
        assert outcome.retry_after_ms is not None
        assert 1 <= outcome.retry_after_ms <= 60_000, outcome


def expected(door: Door, case: str, kind: Kind) -> Kind:
    """How the case ends at this door."""
    differs = door.differs.get(case) or door.differs.get(case.rpartition("-")[0])
    return differs.kind if differs else kind
