"""Calls beside the oracle, cut into batches, stored and restored, and with any bits at all."""

import random
import struct
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.calls import CallTable
from cbad_cy.judgement import Judgement
from cbad_cy.reference_calls import ReferenceCalls
from tests.cbad_cy.call_traces import (
    ERROR,
    JOBS,
    MS,
    OPERATIONS,
    SERVICES,
    Call,
    Over,
    S,
    closed_of,
    fed,
    job_trace,
    shop_trace,
    usual_traces,
)

TIMES = (0, 1, 50, MS // 20, MS, MS, 2 * MS, 5 * MS, 100 * MS, 3 * S, 10**15)


def any_trace(source: random.Random, number: int, closed_ns: int, wild: bool, slow: int) -> Over:
    """A tree of a few spans of five operations of three services."""
    calls: list[Call] = []
    for place in range(source.randint(1, 8)):
        parent = place - 1  # in preorder: under the span before, or under one that it is under
        while parent >= 0 and source.random() < 0.4:
            parent = calls[parent].parent
        took = source.choice(TIMES) if wild else round(slow * MS * source.lognormvariate(0.0, 0.5))
        mark = source.choice((0, 1, 2, 2, 3, 3, 4, 5)) | (ERROR if source.random() < (0.3 if wild else 0.02) else 0)
        start = closed_ns - source.choice(TIMES)
        calls.append(Call(source.randint(1, OPERATIONS), parent, mark, max(0, start), took, took, source.randint(0, 3)))
    marks = source.choice((0, 0, 0, 0, 1, 2, 4, 16, 17, 32))
    return Over(source.randint(0, 5) if wild else number, closed_ns, calls, marks)


@st.composite
def streams(draw: st.DrawFn, *, most: int = 120) -> list[Over]:
    """Traces of which some stretches are slow or fail."""
    source = random.Random(draw(st.integers(0, 2**32)))
    step = draw(st.sampled_from([0, 1, S // 100, S // 10, S, 30 * S, 900 * S]))
    wild = draw(st.booleans())
    slow = draw(st.sampled_from([1, 1, 2, 10]))  # so many times longer is everything in the second half
    now, traces = draw(st.sampled_from([0, 1000 * S, 10**18])), []
    count = draw(st.integers(0, most))
    for number in range(count):
        now += source.randint(0, step)
        traces.append(any_trace(source, number, now, wild, slow if number > count // 2 else 1))
    return traces


@st.composite
def faulty(draw: st.DrawFn) -> list[Over]:
    """Usual requests, then some that are slow or fail, so that there is something to tell."""
    source = random.Random(draw(st.integers(0, 2**32)))
    usual, share = draw(st.integers(50, 400)), draw(st.sampled_from([0.05, 0.3, 1.0]))
    slow, way = draw(st.sampled_from([(0, 0), (5 * MS, 0), (300 * MS, 0), (0, 40 * MS), (20 * MS, 400 * MS)]))
    failing = draw(st.sampled_from([0, 0, 5, 4, 1]))
    traces = [shop_trace(number, source) for number in range(usual)]
    for number in range(usual, usual + draw(st.integers(20, 200))):
        if source.random() < share:
            traces.append(shop_trace(number, source, slow=slow, way=way, failing=failing))
        else:
            traces.append(shop_trace(number, source))
    gap = draw(st.sampled_from([0, 200 * S, 2000 * S]))
    return [*traces, *(it._replace(closed_ns=it.closed_ns + gap) for it in traces[-30:])]


def beside_the_oracle(traces: list[Over], services: Sequence[int], level: float) -> list[Judgement]:
    table, oracle, found = CallTable(operations_max=len(services)), ReferenceCalls(level), list[Judgement]()
    table.alarm_level = level
    for trace in traces:
        closed = closed_of([trace])
        told = table.feed(closed, array("I", services))
        assert told == oracle.feed(closed, array("I", services))
        found += told
    assert table.graph() == oracle.graph()
    return found


@settings(deadline=None, max_examples=40)
@given(st.one_of(streams(), faulty()), st.sampled_from([14.81, 1.0, 25.0]))
def test_the_oracle_says_the_same(traces: list[Over], level: float) -> None:
    beside_the_oracle(traces, SERVICES, level)


@pytest.mark.parametrize(
    ("fault", "share", "pod", "pool"),
    [
        ({"slow": 3.0}, 1.0, 0, 1),
        ({"slow": 3.0}, 0.3, 62, 1),
        ({"way": 20 * MS}, 0.3, 62, 2),
        ({"failing": True}, 0.05, 0, 1),
        ({"failing": True}, 0.3, 62, 1),
    ],
)
def test_the_oracle_says_the_same_of_whole_services_and_instances(
    fault: dict[str, Any], share: float, pod: int, pool: int
) -> None:
    source, bad = random.Random(pod), random.Random(7)
    traces = [job_trace(number, source) for number in range(2500)]
    for number in range(2500, 3200):
        traces.append(job_trace(number, source, pod=pod, **fault if bad.random() < share else {}))
    assert pool in {it.pool for it in beside_the_oracle(traces, JOBS, 10.0)}


@settings(deadline=None, max_examples=30)
@given(st.one_of(streams(), faulty()), st.integers(1, 50))
def test_cuts_change_nothing(traces: list[Over], batch: int) -> None:
    one, many = CallTable(operations_max=OPERATIONS), CallTable(operations_max=OPERATIONS)
    one.alarm_level = many.alarm_level = 5.0
    assert fed(one, traces, SERVICES) == fed(many, traces, SERVICES, batch=batch)
    assert one.parts() == many.parts()
    assert one.graph() == many.graph()


@settings(deadline=None, max_examples=30)
@given(st.one_of(streams(), faulty()), st.floats(0, 1))
def test_it_goes_on_from_its_parts(traces: list[Over], where: float) -> None:
    cut = round(where * len(traces))
    one, other = CallTable(operations_max=OPERATIONS), CallTable(operations_max=OPERATIONS)
    fed(one, traces[:cut], SERVICES)
    other.restore(one.parts())
    assert other.parts() == one.parts()
    assert fed(other, traces[cut:], SERVICES) == fed(one, traces[cut:], SERVICES)
    assert other.parts() == one.parts()
    assert other.graph() == one.graph()


def learned() -> bytes:
    table = CallTable(operations_max=OPERATIONS)
    fed(table, usual_traces(60), SERVICES)
    return table.parts()


def checked(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


LEARNED = learned()
BODY = LEARNED[:-4]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(BODY) // 4 - 1), st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=8, max_size=8)))
def test_any_bits_are_refused_or_harmless(word: int, bits: bytes) -> None:
    """Whatever stands in its numbers: it is refused, or answers go on."""
    body = BODY[: 4 * word] + bits + BODY[4 * word + len(bits) :]
    table = CallTable(operations_max=OPERATIONS)
    try:
        table.restore(checked(body[: len(BODY)]))
    except ValueError:
        assert table.parts() == CallTable(operations_max=OPERATIONS).parts()
        return
    source = random.Random(7)
    fed(table, [shop_trace(number, source, slow=500 * MS, failing=5) for number in range(60, 120)], SERVICES)
    table.graph()
    table.parts()


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 16 * 8))
def test_any_bytes_are_refused(junk: bytes, kept: int) -> None:
    for parts in (junk, LEARNED[:kept] + junk, checked(BODY[:kept] + junk), LEARNED[: len(LEARNED) - 1 - kept]):
        table = CallTable(operations_max=OPERATIONS)
        with pytest.raises(ValueError, match="pasts of calls"):
            table.restore(parts)


def test_parts_hold_little_where_little_is_known() -> None:
    """Of a past that is a few times as much in memory."""
    assert len(CallTable().parts()) < 200
    table = CallTable()
    fed(table, usual_traces(2000), SERVICES)
    assert len(table.parts()) < 1000 * (table.operations + table.edges + table.instances)


def test_numbers_that_are_none_are_refused() -> None:
    """Each group of eight bytes as a number that is not finite: refused where it is a double, harmless where it is not."""
    refused = 0
    for at in range(0, len(BODY), 8):
        body = BODY[:at] + struct.pack("<d", float("nan")) + BODY[at + 8 :]
        try:
            CallTable(operations_max=OPERATIONS).restore(checked(body))
        except ValueError:
            refused += 1
    assert refused > len(BODY) // 8 // 2
