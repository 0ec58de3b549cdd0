"""Rows of spans for tests: a small shop, and a fold that is interrupted at will."""

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cbad_cy.codec import Codec
from driftlock.engine.event import RecordBatch, trace_stream_key
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.state import restore_traces, trace_state

KEY = trace_stream_key("prod")
CODEC = Codec("statistical", 1)
START_NS = 28_333_333 * MINUTE_NS
MS = 1_000_000
INTERNAL, SERVER, CLIENT = 1, 2, 3
ERROR, SAMPLED = 8, 32


@dataclass(frozen=True)
class Span:
    trace: int
    span: int
    parent: int
    service: str
    name: str
    kind: int
    start_ns: int
    duration_ns: int
    marks: int = 0
    instance: str = ""


def new_detector(limits: Limits | None = None, profile: str = "balanced") -> TraceDetector:
    return TraceDetector(KEY, PROFILES[profile], 7, limits or Limits())


def batch_of(spans: Sequence[Span], *, historical: bool = False) -> RecordBatch:
    names = [f"{it.service}\x1f{it.name}\x1f{it.kind}" for it in spans]
    series = sorted(set(names))
    instances = sorted({it.instance for it in spans} - {""})
    return RecordBatch(
        lengths=array("I", bytes(4 * len(spans))),
        times_ns=array("Q", [it.start_ns for it in spans]),
        historical=historical,
        instances=tuple(instances),
        instance_index=array("I", [instances.index(it.instance) + 1 if it.instance else 0 for it in spans]),
        trace_ids=b"".join((it.trace or 1 << 64).to_bytes(16, "big") for it in spans),
        span_ids=b"".join(it.span.to_bytes(8, "big") for it in spans),
        parent_ids=b"".join(it.parent.to_bytes(8, "big") for it in spans),
        series=tuple(series),
        series_index=array("I", [series.index(name) + 1 for name in names]),
        durations_ns=array("Q", [it.duration_ns for it in spans]),
        span_marks=bytes(it.kind | it.marks for it in spans),
    )


def second(number: float) -> int:
    return START_NS + round(number * SECOND_NS)


def checkout(trace: int, at_ns: int, *, pay_ms: float = 4.0, marks: int = 0, instance: str = "pod-1") -> list[Span]:
    """GET /cart of `cart`, which calls POST /pay of `payment`."""
    noise = random.Random(f"checkout {trace}").uniform(0.9, 1.1)
    pay = round(pay_ms * noise * MS)
    return [
        Span(trace, 8 * trace + 1, 0, "shop/cart", "GET /cart", SERVER, at_ns, pay + 3 * MS, marks),
        Span(trace, 8 * trace + 2, 8 * trace + 1, "shop/cart", "POST", CLIENT, at_ns + MS, pay + MS, marks),
        Span(
            trace, 8 * trace + 3, 8 * trace + 2, "shop/payment", f"POST /pay/{trace}", SERVER, at_ns + 3 * MS // 2, pay,
            marks, instance,
        ),
    ]  # fmt: skip


def discounted(trace: int, at_ns: int) -> list[Span]:
    """The same with a call of `discount`."""
    return [
        *checkout(trace, at_ns),
        Span(trace, 8 * trace + 4, 8 * trace + 1, "shop/cart", "GET offers", CLIENT, at_ns + 2 * MS, MS),
        Span(trace, 8 * trace + 5, 8 * trace + 4, "shop/discount", "GET /offers", SERVER, at_ns + 2 * MS, MS // 2),
    ]


def in_time(*traces: Iterable[Span]) -> list[Span]:
    """In the order in which they are exported: when they end."""
    return sorted((span for trace in traces for span in trace), key=lambda it: (it.start_ns + it.duration_ns, it.span))


def shop(traces: range, *, a_second: float = 10.0) -> list[Span]:
    """Usual traffic."""
    return in_time(*(checkout(number, second(number / a_second)) for number in traces))


@dataclass
class Interrupted:
    """A fold that can be stopped and continued from its bytes."""

    detector: TraceDetector

    def restart(self) -> None:
        self.detector = restore_traces(trace_state(self.detector), KEY, 7, self.detector.limits)
