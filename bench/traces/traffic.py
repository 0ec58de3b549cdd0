"""The made-up shop's blocks as a server gets them: spans when they have ended, in batches of a few seconds."""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.traces.records import STEP_NS
from bench.traces.references import Calls, paths
from bench.traces.synthetic import FIRST_NS, Shop, Spans
from driftlock.engine.canonical import CanonicalLimits, Cuts, span_text
from driftlock.engine.event import RecordBatch, SpanMark, StreamKey
from driftlock.engine.limits import SECOND_NS
from server.offline.span_batches import span_stream
from server.offline.spans import KINDS, STATUSES, operation

BLOCK_S = 60


class Sent(NamedTuple):
    """Spans that were sent until `now_ns`."""

    now_ns: int
    batch: RecordBatch
    spans: Spans


class Sending:
    """Holds back spans that have not ended when their block has."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._held: Spans | None = None

    def ended(self, spans: Spans, number: int) -> Spans:
        """The spans of this block and those held back that end before the block does, by their ends."""
        if self._held is not None:
            spans = joined(self._held, spans)
        until_ns = FIRST_NS + (number + 1) * BLOCK_S * SECOND_NS
        ends = spans.start_ns + spans.duration_ns
        order = np.argsort(ends, kind="stable")
        count = int(np.searchsorted(ends[order], until_ns))
        self._held = picked(spans, order[count:])
        return picked(spans, order[:count])

    def sent(self, spans: Spans) -> Iterator[Sent]:
        """Spans by their ends, as batches."""
        steps = (spans.start_ns + spans.duration_ns) // STEP_NS
        for rows in np.split(np.arange(len(steps)), np.flatnonzero(np.diff(steps)) + 1):
            if len(rows):
                some = picked(spans, rows)
                yield Sent((int(steps[rows[0]]) + 1) * STEP_NS, span_batch(self._shop, some), some)


def picked(spans: Spans, rows: NDArray[np.int64]) -> Spans:
    """Some of the spans, in that order."""
    return Spans(
        trace=spans.trace[rows],
        span=spans.span[rows],
        parent=spans.parent[rows],
        operation=spans.operation[rows],
        error=spans.error[rows],
        start_ns=spans.start_ns[rows],
        duration_ns=spans.duration_ns[rows],
        instance=spans.instance[rows],
    )


def joined(first: Spans, then: Spans) -> Spans:
    """All of both."""
    return Spans(
        trace=np.concatenate((first.trace, then.trace)),
        span=np.concatenate((first.span, then.span)),
        parent=np.concatenate((first.parent, then.parent)),
        operation=np.concatenate((first.operation, then.operation)),
        error=np.concatenate((first.error, then.error)),
        start_ns=np.concatenate((first.start_ns, then.start_ns)),
        duration_ns=np.concatenate((first.duration_ns, then.duration_ns)),
        instance=np.concatenate((first.instance, then.instance)),
    )


def span_batch(shop: Shop, spans: Spans) -> RecordBatch:
    """The columns of the stream of traces."""
    count = len(spans.trace)
    trace_ids = np.zeros((count, 2), ">u8")
    trace_ids[:, 1] = spans.trace
    kinds = np.array([kind for _, _, kind in shop.operations], np.uint8)
    marks = kinds[spans.operation] | np.where(spans.error, np.uint8(SpanMark.ERROR), np.uint8(0))
    return RecordBatch(
        lengths=array("I", bytes(4 * count)),
        times_ns=array("Q", spans.start_ns.astype(np.uint64).tobytes()),
        instances=tuple(shop.instances),
        instance_index=array("I", (spans.instance + 1).astype(np.uint32).tobytes()),
        trace_ids=trace_ids.tobytes(),
        span_ids=spans.span.astype(">u8").tobytes(),
        parent_ids=spans.parent.astype(">u8").tobytes(),
        durations_ns=array("Q", spans.duration_ns.astype(np.uint64).tobytes()),
        span_marks=marks.astype(np.uint8).tobytes(),
        series=tuple(operation(*it) for it in shop.operations),
        series_index=array("I", (spans.operation + 1).astype(np.uint32).tobytes()),
    )


def text_batches(shop: Shop, spans: Spans) -> dict[StreamKey, RecordBatch]:
    """What the same spans say, as lines of their services."""
    texts = {
        (number, error): _text(name, kind, error)
        for number, (_, name, kind) in enumerate(shop.operations)
        for error in (False, True)
    }
    services = np.array([service for service, _, _ in shop.operations])[spans.operation]
    found = {}
    for service in dict.fromkeys(services.tolist()):
        some = picked(spans, np.flatnonzero(services == service))
        lines = [texts[it] for it in zip(some.operation.tolist(), some.error.tolist(), strict=True)]
        columns = span_batch(shop, some)
        found[span_stream(service)] = RecordBatch(
            text=b"".join(lines),
            lengths=array("I", map(len, lines)),
            times_ns=columns.times_ns,
            instances=columns.instances,
            instance_index=columns.instance_index,
            trace_ids=columns.trace_ids,
            span_ids=columns.span_ids,
        )
    return found


def _text(name: str, kind: int, error: bool) -> bytes:
    status = STATUSES[2].upper() if error else ""
    return span_text(KINDS[kind].upper(), name, status, {}, (), limits=CanonicalLimits(), cuts=Cuts()).encode()


def calls_of(shop: Shop, spans: Spans) -> Calls:
    """The calls of whole traces, by their ends, as references see them."""
    order = np.argsort(spans.span, kind="stable")
    at = np.minimum(np.searchsorted(spans.span[order], spans.parent), len(order) - 1)
    parent = np.where((spans.parent > 0) & (spans.span[order][at] == spans.parent), order[at], -1)
    services = {service: number for number, service in enumerate(shop.services)}
    service_of = np.array([services[service] for service, _, _ in shop.operations])
    names = np.array([_number(*it) for it in shop.operations])
    whole = Calls(
        operation=names[spans.operation],
        service=service_of[spans.operation],
        path=paths(names[spans.operation], parent),
        error=spans.error,
        end_ns=spans.start_ns + spans.duration_ns,
        duration_ns=spans.duration_ns,
    )
    return whole.picked(np.argsort(whole.end_ns, kind="stable"))


def _number(service: str, name: str, kind: int) -> int:
    """A number of an operation that does not depend on what else was drawn before it."""
    return int.from_bytes(f"{service}/{name}/{kind}".encode(), "big") % (2**61 - 1)
