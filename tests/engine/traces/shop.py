"""A shop with a past, in which something goes wrong: real traffic for the real tables, small enough to be made in a moment."""

from collections.abc import Callable
from functools import cache

from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.state import restore_traces, trace_state
from driftlock.engine.verdict import Finding
from tests.engine.traces.rows import (
    CLIENT,
    CODEC,
    ERROR,
    INTERNAL,
    KEY,
    MS,
    SERVER,
    Span,
    batch_of,
    in_time,
    new_detector,
    second,
)

RATE = 20.0
"""Visits a second."""

PAST = 6000
"""So many visits are learned before anything happens."""

SPANS = 8
PODS = 4

CART, PAYMENT, STOCK, MAIL = "shop/cart", "shop/payment", "shop/stock", "shop/mail"

Visit = Callable[[int], list[Span]]


def draw(trace: int, salt: int, median: float) -> int:
    """A duration in ns around a median in ms: mostly within a factor of two, three times as long in one of fifty."""
    number = (trace * 2654435761 + salt * 40503 + trace * trace * salt) % 4093 / 4093
    return round(median * MS * (0.7 + number if number < 0.98 else 3.0))


def start(trace: int) -> int:
    """When a visit begins, in ns."""
    return second(trace / RATE)


def visit(
    trace: int,
    *,
    pay_ms: float = 0.0,
    way_ms: float = 0.0,
    refused: bool = False,
    attempts: int = 1,
    stock: bool = True,
    answered: bool = True,
    extra: tuple[str, str] | None = None,
) -> list[Span]:
    """GET /cart: the cart asks the stock, renders, and has the payment service charge, which writes to its database.

    `pay_ms` more are spent in the payment service, `way_ms` on the way to it; a `refused` payment fails, and all but the last
    of several `attempts` do. The `stock` may not be asked, or not have `answered`. `extra` is what the cart calls besides.
    """
    at, pod, number = start(trace), f"pod-{trace % PODS}", iter(range(1, 100))
    first = 64 * trace

    def span(parent: int, service: str, name: str, kind: int, start_ns: int, duration_ns: int, marks: int = 0) -> Span:
        of = pod if service == PAYMENT else "front"
        return Span(trace + 1, first + next(number), parent, service, name, kind, start_ns, duration_ns, marks, of)

    root = first + next(number)
    now = at + draw(trace, 1, 1.0)
    spans = []
    if stock:
        level, way = draw(trace, 2, 2.0), draw(trace, 3, 0.4)
        asked = span(root, CART, "GET", CLIENT, now, level + way)
        spans.append(asked)
        if answered:
            spans.append(span(asked.span, STOCK, "GET /level", SERVER, now + way // 2, level))
        now += level + way
    render = draw(trace, 4, 0.6)
    spans.append(span(root, CART, "render", INTERNAL, now, render))
    now += render
    for attempt in range(attempts):
        failed = ERROR if refused or attempt < attempts - 1 else 0
        write, charge = draw(trace, 5, 1.5), draw(trace, 6, 4.0) + round(pay_ms * MS)
        way = draw(trace, 7, 0.5) + round(way_ms * MS)
        call = span(root, CART, "POST", CLIENT, now, charge + write + way, failed)
        pay = span(call.span, PAYMENT, f"POST /pay/{trace}", SERVER, now + way // 2, charge + write, failed)
        insert = span(pay.span, PAYMENT, "INSERT", CLIENT, now + way // 2 + charge // 2, write)
        spans += [call, pay, insert]
        now += charge + write + way
    if extra is not None:
        asked = span(root, CART, "PUT", CLIENT, now, 2 * MS)
        spans += [asked, span(asked.span, extra[0], extra[1], SERVER, now + MS // 2, MS)]
        now += 2 * MS
    now += draw(trace, 8, 0.5)
    return [Span(trace + 1, root, 0, CART, "GET /cart", SERVER, at, now - at, instance="front"), *spans]


def visits(traces: range, of: Visit = visit) -> list[Span]:
    """The spans of these visits as they are exported."""
    return in_time(*map(of, traces))


@cache
def past(limits: Limits) -> bytes:
    """The state of a stream that has seen `PAST` usual visits, some of which are open."""
    detector = new_detector(limits)
    found = []
    for first in range(0, PAST, 1000):
        found += detector.fold(batch_of(visits(range(first, first + 1000))), start(first + 1000) + SECOND_NS, CODEC)
    if found:
        raise AssertionError(f"nothing happened, and yet: {[it.explanation for it in found]}")
    return trace_state(detector)


def learned(limits: Limits | None = None) -> TraceDetector:
    """A fold with that past."""
    limits = limits or Limits()
    return restore_traces(past(limits), KEY, 7, limits)


def findings(of: Visit, count: int = 600) -> list[Finding]:
    """What is found in as many further visits, all of which are made so, up to the last one."""
    detector = learned()
    found = detector.fold(batch_of(visits(range(PAST, PAST + count), of)), start(PAST + count) + SECOND_NS, CODEC)
    return found + detector.flush()
