"""Which services and operations a stream of traces has, by the numbers that kernels know them by."""

import re
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from cbad_cy.tokenize import mask
from driftlock.engine.canonical import IDENTITY_SEPARATOR
from driftlock.engine.explanation.sentence import MARKS
from driftlock.engine.limits import Limits

OTHER = "other"
"""The operation of a service that stands for all those for which there is no number left."""

OVERFLOW_SERVICE = "_overflow"
"""The service that stands for all those for which not even that is left."""

UNKNOWN_SERVICE = "unknown_service"
"""The service of a span that names none (OpenTelemetry resource semantic conventions)."""

UNNAMED = "unnamed"
"""The operation of a span without a name."""

OTHERS_SHARE = 16
"""One in so many numbers is kept for the `OTHER` operations of services."""

SERVICE_SHARE = 8
"""One service has at most one in so many of all numbers: names with identifiers in one of them leave room for the others."""

NAMES_REMEMBERED = 4
"""The numbers of so many times `Limits.operations_max` unmasked names are remembered, so that they need not be masked again."""

_VERSIONED = re.compile(rb"[A-Za-z]+\d")
_BETWEEN = re.compile(rb"(\s*/\s*)")


class Operation(NamedTuple):
    """What spans of one kind do in one service: the service's number, the name with identifiers masked, the kind as in OTLP."""

    service: int
    name: str
    kind: int


class Directory:
    """Numbers from 1 for the services and operations of one stream, in the order in which they came; none is ever given back.

    At most `Limits.operations_max` operations are told apart: what comes beyond, or beyond the share of its service, is that
    service's operation `other`. How spans are cut into rows changes no number.
    """

    def __init__(self, limits: Limits) -> None:
        self.operations_max = limits.operations_max
        self.services: list[str] = [""]
        self.operations: list[Operation] = [Operation(0, "", 0)]
        self.service_of = array("I", [0])  # the service's number by operation number
        self.overflowed = 0  # so many spans were of an operation that is not told apart
        self._numbers: dict[Operation, int] = {}
        self._service_numbers: dict[str, int] = {}
        self._named: list[int] = [0]  # operations of a service that are told apart
        self._others: set[int] = set()
        self._known: dict[str, int] = {}

    def __len__(self) -> int:
        """Number of operations."""
        return len(self.operations) - 1

    @property
    def full(self) -> bool:
        """Whether some operations could not be told apart."""
        return bool(self._others)

    def tells_apart(self, operation: int) -> bool:
        """Whether a number is of one operation, and not of all those of a service, or of others, that have none."""
        return operation not in self._others

    def numbers(self, series: Sequence[str], index: "array[int]") -> "array[int]":
        """The operation of each span; `index` is 1-based into the identities `series`, 0 = none."""
        if len(self._known) > NAMES_REMEMBERED * self.operations_max:
            self._known.clear()
        identities, places = ("", *series), dict.fromkeys(index)
        fresh = dict.fromkeys(it for it in map(identities.__getitem__, places) if it not in self._known)
        if fresh:
            self._learn(tuple(fresh))
        numbers = {place: self._known[identities[place]] for place in places}
        found = array("I", map(numbers.__getitem__, index))
        if self._others and not self._others.isdisjoint(numbers.values()):
            self.overflowed += sum(map(self._others.__contains__, found))
        return found

    def _learn(self, identities: Sequence[str]) -> None:
        parsed = [parse(identity) for identity in identities]
        names = masked_names([name for _, name, _ in parsed])
        for identity, (service, _, kind), name in zip(identities, parsed, names, strict=True):
            self._known[identity] = self._number(service, name, kind)

    def _number(self, service: str, name: str, kind: int) -> int:
        of = self._service_numbers.get(service, 0)
        number = self._numbers.get(Operation(of, name, kind)) if of else None
        if number is not None:
            return number
        told_apart = self._named[of] if of else 0
        reserved = max(1, self.operations_max // OTHERS_SHARE)
        share = max(1, self.operations_max // SERVICE_SHARE)
        if told_apart < share and len(self) < self.operations_max - reserved:
            of = of or self._enter(service)
            self._named[of] += 1
            return self._add(Operation(of, name, kind))
        return self._other(service)

    def _other(self, service: str) -> int:
        """The number of what is not told apart of a service; the last number of all is that of all other services."""
        for name in (service, OVERFLOW_SERVICE):
            of = self._service_numbers.get(name, 0)
            number = self._numbers.get(Operation(of, OTHER, -1)) if of else None
            if number is None and (len(self) < self.operations_max - 1 or name == OVERFLOW_SERVICE):
                number = self._add(Operation(of or self._enter(name), OTHER, -1))
                self._others.add(number)
            if number is not None:
                return number
        raise AssertionError("the last number is kept for what overflows")

    def _enter(self, service: str) -> int:
        self._service_numbers[service] = len(self.services)
        self.services.append(service)
        self._named.append(0)
        return len(self.services) - 1

    def _add(self, operation: Operation) -> int:
        number = self._numbers[operation] = len(self.operations)
        self.operations.append(operation)
        self.service_of.append(operation.service)
        return number

    def restore(self, services: Iterable[str], operations: Iterable[Operation], overflowed: int) -> None:
        """Continue from what was stored, in its order; raises ValueError when it does not fit together."""
        for service in services:
            if service in self._service_numbers:
                raise ValueError("a service stands twice")
            self._enter(service)
        for operation in operations:
            if not 0 < operation.service < len(self.services) or operation in self._numbers:
                raise ValueError("its operations do not fit its services")
            number = self._add(operation)
            if operation.kind < 0:
                self._others.add(number)
            else:
                self._named[operation.service] += 1
        self.overflowed = overflowed


def parse(identity: str) -> tuple[str, str, int]:
    r"""Service, name and kind of an operation's identity; what is not there is unknown.

    >>> parse("shop/cart\x1fGET /cart\x1f2"), parse("")
    (('shop/cart', 'GET /cart', 2), ('unknown_service', 'unnamed', 0))
    """
    service, _, rest = identity.partition(IDENTITY_SEPARATOR)
    name, _, kind = rest.rpartition(IDENTITY_SEPARATOR)
    return service or UNKNOWN_SERVICE, name or UNNAMED, int(kind) if kind in {"1", "2", "3", "4", "5"} else 0


def masked_names(names: Sequence[str]) -> list[str]:
    """The names with identifiers shown as what they are, so that equal work has one name.

    Each segment of a path is looked at by itself; a single digit after letters is part of a word.

    >>> masked_names(["GET /users/123", "GET /v1/carts/550e8400-e29b-41d4-a716-446655440000", "oauth2/token", "job 7 of 20"])
    ['GET /users/<num>', 'GET /v1/carts/<uuid>', 'oauth2/token', 'job <num> of <num>']
    """
    split = [_BETWEEN.split(name.encode("utf-8", "replace").replace(b"\n", b" ").strip()) for name in names]
    segments = [segment for parts in split for segment in parts[::2]]
    lengths = array("I", map(len, segments))
    text, masked_lengths = mask(b"".join(segments), lengths, line_bytes_max=max(1, *lengths, 1))
    ends = list(accumulate(masked_lengths))
    masked = iter([text[end - length : end] for end, length in zip(ends, masked_lengths, strict=True)])
    for parts in split:
        parts[::2] = [_shown(segment, next(masked)) for segment in parts[::2]]
    return [b"".join(parts).decode("utf-8", "replace") for parts in split]


def _shown(segment: bytes, masked: bytes) -> bytes:
    if masked == segment or _VERSIONED.fullmatch(segment):
        return segment
    for mark, label in MARKS:
        masked = masked.replace(mark.encode(), label.encode())
    return masked
