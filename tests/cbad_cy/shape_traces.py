"""Closed traces for the tests of `cbad_cy.shapes`: trees in a few words, traffic of a made-up shop, and both as columns."""

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cbad_cy.judgement import Judgement
from cbad_cy.reference_traces import ClosedTrace, SpanRow
from cbad_cy.shapes import ShapeTable
from cbad_cy.traces import Closed

S = 10**9
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
FAILED, SAMPLED = 8, 32
START = 1_700_000_000 * S


@dataclass(frozen=True)
class Tree:
    """A span with what is below it."""

    operation: int
    below: "tuple[Tree, ...]" = ()
    kind: int = SERVER
    failed: bool = False
    instance: int = 0

    def plus(self, *more: "Tree") -> "Tree":
        return replace(self, below=(*self.below, *more))


def tree(operation: int, *below: Tree, kind: int = SERVER, failed: bool = False, instance: int = 0) -> Tree:
    return Tree(operation, below, kind, failed, instance)


def spans_of(it: Tree, parent: int = -1, at: int = 0) -> list[SpanRow]:
    """In preorder."""
    rows = [SpanRow(it.operation, parent, at.to_bytes(8, "big"), it.kind | FAILED * it.failed, START, 1, 1, it.instance)]
    for child in it.below:
        rows += spans_of(child, at, at + len(rows))
    return rows


def trace(it: Tree, number: int = 0, *, at_s: float = 0.0, marks: int = 0) -> ClosedTrace:
    """A trace that closed so many seconds after START, one second after it began."""
    closed = START + round(at_s * S)
    return ClosedTrace(number.to_bytes(16, "big"), marks, closed - S, closed, closed, tuple(spans_of(it)))


def columns(traces: Sequence[ClosedTrace]) -> Closed:
    """Rows as columns."""
    rows = [row for it in traces for row in it.spans]
    return Closed(
        b"".join(it.trace for it in traces),
        array("I", [len(it.spans) for it in traces]),
        bytes(it.marks for it in traces),
        array("Q", [it.start_ns for it in traces]),
        array("Q", [it.end_ns for it in traces]),
        array("Q", [it.closed_ns for it in traces]),
        array("I", [row.operation for row in rows]),
        array("i", [row.parent for row in rows]),
        b"".join(row.id for row in rows),
        bytes(row.mark for row in rows),
        array("Q", [row.start_ns for row in rows]),
        array("Q", [row.duration_ns for row in rows]),
        array("Q", [row.self_ns for row in rows]),
        array("I", [row.instance for row in rows]),
    )


def services(*numbers: int) -> "array[int]":
    """The service of operations 1, 2, ..."""
    return array("I", [0, *numbers])


class Feeder:
    """Gives trees to a table, one after another, `step_s` apart."""

    def __init__(self, of: Sequence[int], *, step_s: float = 0.01, **bounds: float) -> None:
        self.services = services(*of)
        self.table = ShapeTable(**bounds)  # type: ignore[arg-type]
        self.step_s = step_s
        self.at_s = 0.0
        self.number = 0

    def __call__(self, trees: Iterable[Tree], *, marks: int = 0, step_s: float | None = None) -> list[Judgement]:
        made = []
        for it in trees:
            self.number += 1
            self.at_s += self.step_s if step_s is None else step_s
            made.append(trace(it, self.number, at_s=self.at_s, marks=marks))
        return self.table.feed(columns(made), self.services)


OF = (1, 1, 1, 2, 3, 1, 1, 3, 2, 4, *[1] * 20)
"""Services of operations 1..30."""

USUAL = tree(1, tree(3, tree(5, tree(8, kind=INTERNAL)), kind=CLIENT), tree(2, kind=INTERNAL))
"""1 (service 1) calls by client 3 the operation 5, which does 8 (both of service 3), and does 2."""

CALL = USUAL.below[0]


def learned(usual: Tree = USUAL, count: int = 2000, **bounds: float) -> Feeder:
    """A table for which so many traces are usual."""
    feed = Feeder(OF, **bounds)
    assert feed([usual] * count) == []
    return feed


def only(found: list[Judgement]) -> Judgement:
    (it,) = found
    return it


SHOP = services(1, 1, 2, 2, 3, 3, 4, 1, 1, 4)
"""Of the shop's operations: two roots, cart and price, two of the database, mail; 8 and 9 are clients of the roots; extra."""


def shop_tree(source: random.Random, fault: str = "") -> Tree:
    """A trace of the shop, with a fault or without."""
    chance = source.random
    price = tree(4, *[tree(6, kind=INTERNAL)] * (1 + (chance() < 0.3)), instance=source.randint(1, 5))
    if fault == "missing" or chance() < 0.01:
        price = replace(price, below=())
    if fault == "repeats":
        price = price.plus(*[tree(6, kind=INTERNAL)] * 3)
    cart = tree(3, price, *[tree(5, kind=INTERNAL)] * (chance() < 0.6), failed=chance() < 0.05)
    client = tree(8, *[cart] * (chance() < 0.97), kind=CLIENT, failed=chance() < 0.02)
    if fault == "silent":
        client = replace(client, below=())
    if fault == "dependency":
        cart = cart.plus(tree(10))
        client = replace(client, below=(cart,))
    if chance() < 0.2:
        return tree(2, client, tree(9, tree(7, kind=CONSUMER), kind=PRODUCER))
    other = tree(8, price, kind=CLIENT)
    calls = [client, *[other] * (fault != "gone")]
    return tree(1, *[other] * source.choice((0, 0, 1, 2, 7)), *calls)


def shop(source: random.Random, count: int, faults: Sequence[str], step_s: float) -> list[ClosedTrace]:
    """Traffic whose second half has the faults in some traces."""
    made, at_s, share = [], 0.0, source.choice((0.1, 0.5, 1.0))
    for number in range(count):
        at_s += step_s * source.choice((0, 1, 2))
        fault = source.choice(faults) if faults and 2 * number > count and source.random() < share else ""
        marks = source.choice((0,) * 300 + (1, 2, 4, 8, 16, 32))
        made.append(trace(shop_tree(source, fault), number + 1, at_s=at_s, marks=marks))
    return made
