"""How traces are given to a tenant, and how what comes of it is counted."""

import json
from array import array

import numpy as np
import pytest

from bench.quality.figures import Figure
from bench.traces.markdown import markdown
from bench.traces.nezha import FAULT_S, FOUND_S, Day, Fault, measured
from bench.traces.power import AFFECTED_MAX, outcome, poisson_interval
from bench.traces.records import LogLine, Naming, Opened, Row, arrivals, batches, steps
from bench.traces.synthetic import FIRST_NS, Shop
from bench.traces.traffic import BLOCK_S, Sending, calls_of, span_batch, text_batches
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import SECOND_NS
from server.offline.span_batches import TRACES, trace_batch
from server.offline.spans import SpanLine, SpanReader

BASE_NS = 1_700_000_000 * SECOND_NS
LOG = LogLine("cart", "cart-1", BASE_NS, b"hello", b"", b"")


def span(start_s: float, dur_s: float, service: str = "cart") -> SpanLine:
    members = {
        "time": 1_700_000_000 + start_s,
        "dur_us": dur_s * 1e6,
        "service": service,
        "name": "GET",
        "trace": "1",
        "span": "2",
    }
    return SpanReader(CanonicalLimits()).span(json.dumps(members).encode())


def test_a_span_arrives_when_it_has_ended() -> None:
    slow, quick, row = span(0, 9), span(1, 0.5), Row("cart", "cart-1", BASE_NS + 2 * SECOND_NS, {"cpu": 1.0, "a": 2.0})
    found = arrivals([slow, quick, row, LOG])
    assert [it.record for it in found] == [LOG, quick, row, slow]
    assert [(now_ns - BASE_NS) // SECOND_NS for now_ns, _ in steps(found)] == [5, 10]
    first, last = (records for _, records in steps(found))
    assert (first, last) == ([LOG, quick, row], [slow])
    made = batches(first)
    assert set(made) == {StreamKey(signal, "cart") for signal in Signal} | {TRACES}
    assert made[StreamKey(Signal.METRICS, "cart")].values == array("d", [2.0, 1.0])
    assert list(made)[-1] == TRACES


FAULT = Fault(BASE_NS, "cart", "delay")


def found(*opened: Opened) -> dict[str, float]:
    day = Day(arrivals([span(second, 0.1) for second in range(-100, 200, 2)]), [FAULT])
    return {it.measure: it.value for it in measured(day, opened, "ours", (SpanLine,))}


def incident(alarmed_s: int, told_s: int, culprit: str = "cart", *others: str) -> Opened:
    told_ns = BASE_NS + told_s * SECOND_NS
    alarmed_ns = BASE_NS + alarmed_s * SECOND_NS
    return Opened(alarmed_ns, told_ns, [Naming(told_ns, alarmed_ns, culprit, frozenset({culprit, *others}))])


def test_a_fault_is_found_by_an_incident_that_names_its_service_in_time() -> None:
    assert (found(incident(5, 60))["found"], found(incident(5, 60))["culprit first"]) == (1, 1)
    named = found(incident(5, 60, "shop", "cart"))
    assert (named["found"], named["culprit first"], named["services named, median"], named["delay, median s"]) == (1, 0, 2, 60)
    for wrong in (incident(-1, 60), incident(5, FOUND_S + 1), incident(5, 60, "shop")):
        assert found(wrong)["found"] == 0


def test_an_open_incident_that_grows_is_counted_apart() -> None:
    open_one = incident(-1, 60)
    assert (found(open_one)["found"], found(open_one)["or an open one grew"]) == (0, 0)
    told_ns = BASE_NS + FOUND_S * SECOND_NS
    open_one.named.append(Naming(told_ns, BASE_NS + SECOND_NS, "shop", frozenset({"shop", "cart"})))
    assert (found(open_one)["found"], found(open_one)["or an open one grew"]) == (0, 1)
    open_one.named[-1] = open_one.named[-1]._replace(told_ns=told_ns + 1)
    assert found(open_one)["or an open one grew"] == 0


def test_incidents_outside_of_faults_are_false() -> None:
    told = found(incident(-30, -10), incident(FAULT_S, FAULT_S), incident(FAULT_S + 1, FAULT_S + 2))
    assert (told["incidents"], told["false incidents"]) == (3, 2)
    assert told["minutes without a fault"] == pytest.approx(100 / 60)
    assert told["false an hour"] == pytest.approx(2 * 36)


def test_an_outcome_counts_traces_that_were_touched_before_the_alarm() -> None:
    affected = np.arange(1000) * SECOND_NS + BASE_NS
    assert outcome([incident(10, 60)], affected, frozenset({"cart"})).affected == 10
    assert outcome([incident(10, 60)], affected, frozenset({"cart"})).right_first
    assert not outcome([incident(10, 60, "shop", "cart")], affected, frozenset({"cart"})).right_first
    for missed in (incident(0, 60), incident(AFFECTED_MAX + 1, 300), incident(10, 60, "shop")):
        assert outcome([missed], affected, frozenset({"cart"})).affected is None


def test_the_shop_sends_its_spans_once_and_when_they_have_ended() -> None:
    shop = Shop(3, traces_per_second=2.0)
    sending, sent = Sending(shop), []
    blocks = [shop.block(number).spans for number in range(3)]
    for number, spans in enumerate(blocks):
        ended = sending.ended(spans, number)
        ends = ended.start_ns + ended.duration_ns
        assert (np.diff(ends) >= 0).all()
        assert int(ends.max()) < FIRST_NS + (number + 1) * BLOCK_S * SECOND_NS
        for part in sending.sent(ended):
            latest = max(map(sum, zip(part.batch.times_ns, part.batch.durations_ns, strict=True)))
            assert part.now_ns - 5 * SECOND_NS <= latest < part.now_ns
            sent += [part.batch.span_ids[8 * place :][:8] for place in range(len(part.batch))]
    drawn = [number.to_bytes(8, "big") for spans in blocks for number in spans.span.tolist()]
    assert len(sent) == len(set(sent))
    assert set(sent) <= set(drawn)
    assert len(sent) > 0.9 * len(drawn)


def test_columns_of_the_shop_are_those_of_its_spans_one_by_one() -> None:
    shop = Shop(3, traces_per_second=2.0)
    spans = shop.block(0).spans
    lines = [
        SpanLine(
            service=it.service,
            text=b"",
            time_ns=it.start_ns,
            trace=it.trace.to_bytes(16, "big"),
            span=it.span.to_bytes(8, "big"),
            parent=it.parent.to_bytes(8, "big"),
            duration_ns=it.duration_ns,
            mark=it.kind | (8 if it.error else 0),
            operation=f"{it.service}\x1f{it.operation}\x1f{it.kind}",
            instance=it.instance,
        )
        for it in shop.objects(spans)
    ]
    fast, slow = span_batch(shop, spans), trace_batch(lines)
    for column in ("trace_ids", "span_ids", "parent_ids", "span_marks", "times_ns", "durations_ns"):
        assert getattr(fast, column) == getattr(slow, column)
    for names, index in (("series", "series_index"), ("instances", "instance_index")):
        assert [getattr(fast, names)[it - 1] for it in getattr(fast, index)] == [
            getattr(slow, names)[it - 1] for it in getattr(slow, index)
        ]
    calls = calls_of(shop, spans)
    assert sorted(calls.duration_ns.tolist()) == sorted(spans.duration_ns.tolist())
    assert len(np.unique(calls.path)) > len(np.unique(calls.operation))
    assert {shop.services[number] for number in calls.service.tolist()} == {it.service for it in lines}


def test_texts_of_the_shop_are_lines_of_its_services() -> None:
    shop = Shop(3, traces_per_second=2.0)
    spans = shop.block(0).spans
    made = text_batches(shop, spans)
    lines: dict[StreamKey, list[str]] = {}
    for it in shop.objects(spans):
        kind = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")[it.kind]
        lines.setdefault(StreamKey(Signal.TRACES, it.service), []).append(f"{kind} {it.operation}{' ERROR' * it.error}")
    assert {key: [line.decode() for line in batch.lines()] for key, batch in made.items()} == lines
    assert sum(len(batch.trace_ids) for batch in made.values()) == 16 * len(spans.trace)


def test_tables_are_markdown() -> None:
    figures = [
        Figure("p", "c", "d", "x", "found", 3.0),
        Figure("p", "c", "d", "y", "delay", 0.5, 0.25, 0.75),
        Figure("p", "other", "d", "x", "found", float("nan")),
    ]
    assert markdown(figures).splitlines() == [
        *("**p**: c", "", "| data | detector | found | delay |", "|---|---|---|---|", "| d | x | 3 | - |"),
        *("| d | y | - | 0.500 [0.25, 0.75] |", "", "**p**: other", "", "| data | detector | found |", "|---|---|---|"),
        "| d | x | - |",
    ]


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)]
)
def test_bounds_of_a_count_are_those_of_the_tables(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-3)
