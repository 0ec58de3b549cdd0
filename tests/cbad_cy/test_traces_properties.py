"""Traces beside the oracle, in any order, cut into batches, stored and restored, and with any bits at all."""

import random
import struct
from array import array
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.reference_traces import NO_SPAN, ClosedTrace, RawSpan, ReferenceTraces
from cbad_cy.traces import CHUNK_BYTES, TIME_MOST_NS, TRACE_BYTES, TraceTable, trace_bytes
from tests.cbad_cy.test_points_properties import check
from tests.cbad_cy.trace_spans import counts, feed, rows

Stream = list[tuple[RawSpan, int]]
TIMES = (0, 1, 2, 3, 5, 10, 20, 50)
FAR = (0, 1, TIME_MOST_NS // 2, TIME_MOST_NS - 1, TIME_MOST_NS, TIME_MOST_NS + 1, 2**63, 2**64 - 1)
BOUNDS = st.fixed_dictionaries(
    {
        "traces_max": st.sampled_from([1, 2, 5, 1000]),
        "bytes_max": st.sampled_from([trace_bytes(70), 2 * trace_bytes(70), 1 << 24]),
        "trace_spans_max": st.sampled_from([2, 5, 70]),
        "idle_ns": st.integers(1, 60),
        "linger_ns": st.integers(0, 40),
        "late_ns": st.sampled_from([0, 30, 10**6]),
        "closed_max": st.sampled_from([1, 3, 1000]),
    }
)


@st.composite
def streams(draw: st.DrawFn, *, most: int = 60) -> Stream:
    """Spans of a few traces: parents among few ids, so that there are circles, orphans, own parents and duplicates."""
    source = random.Random(draw(st.integers(0, 2**32)))
    traces, ids, count = draw(st.integers(1, 6)), draw(st.integers(1, 40)), draw(st.integers(0, most))
    times = draw(st.sampled_from([TIMES, TIMES, TIMES, FAR, (7,)]))
    step = draw(st.sampled_from([0, 1, 5, 30]))
    now, stream = 0, []
    for _ in range(count):
        now += source.randint(0, step)
        stream.append(
            (
                RawSpan(
                    source.choice((*range(1, traces + 1), *range(1, traces + 1), 0)).to_bytes(16, "little"),
                    source.randint(0, ids).to_bytes(8, source.choice(["big", "little"])),
                    source.choice((0, source.randint(0, ids))).to_bytes(8, "big"),
                    source.randint(0, 3),
                    source.randint(0, 15),
                    source.choice(times),
                    source.choice(times),
                    source.randint(0, 2),
                ),
                now,
            )
        )
    return stream


def fed(into: TraceTable, stream: Stream) -> list[ClosedTrace]:
    return feed(into, [it for it, _ in stream], [now for _, now in stream])


def all_told(stream: Stream, **bounds: int) -> list[ClosedTrace]:
    into = TraceTable(**bounds)
    return fed(into, stream) + rows(into.flush())


@settings(deadline=None, max_examples=150)
@given(streams(), BOUNDS)
def test_the_oracle_says_the_same(stream: Stream, bounds: dict[str, int]) -> None:
    oracle, into = ReferenceTraces(**bounds), TraceTable(**bounds)
    for it, now in stream:
        assert feed(into, [it], now) == oracle.take(it, now)
        expected = {
            "open": len(oracle.traces),
            "spans": sum(len(trace.spans) for trace in oracle.traces.values()),
            "next_due_ns": oracle.next_due_ns(),
            "bytes": oracle.bytes(),
            **{name: getattr(oracle, name) for name in ("duplicates", "late", "cut", "without_trace", "overflowed", "fed")},
        }
        assert counts(into) | expected == counts(into)
    later = stream[-1][1] + 40 if stream else 40
    assert rows(into.pass_time(later)) == oracle.pass_time(later)
    assert rows(into.flush()) == oracle.flush()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(65, 400), st.booleans())
def test_the_oracle_says_the_same_of_large_traces(seed: int, size: int, deep: bool) -> None:
    source = random.Random(seed)
    names = source.sample(range(1, 10 * size), size)
    spans = [
        RawSpan(
            bytes(15) + b"\1",
            name.to_bytes(8, "big"),
            (source.choice(names[max(0, at - 2) : at] if deep else names) if at else 0).to_bytes(8, "big"),
            source.randint(1, 4),
            source.randint(0, 5),
            source.randint(0, 500),
            source.randint(0, 500),
        )
        for at, name in enumerate(names)
    ]
    source.shuffle(spans)
    spans += source.sample(spans, 20)
    bounds = {"traces_max": 10, "bytes_max": 1 << 20, "trace_spans_max": 390, "idle_ns": 10**6, "linger_ns": 10**6}
    oracle, into = ReferenceTraces(**bounds), TraceTable(**bounds)
    for it in spans:
        assert oracle.take(it, 1) == []
    assert feed(into, spans, 1) == []
    assert (into.duplicates, into.cut, into.bytes) == (oracle.duplicates, oracle.cut, oracle.bytes())
    assert into.duplicates >= 10
    assert rows(into.flush()) == oracle.flush()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([40, 100, 250]), st.sampled_from([30, 150]))
def test_the_oracle_says_the_same_of_many_traces(seed: int, traces_max: int, closed_max: int) -> None:
    """So many that they meet in the indexes, and that the heap is deep."""
    source, now, ids = random.Random(seed), 0, range(1, 500)
    bounds = {"traces_max": traces_max, "bytes_max": 1 << 20, "idle_ns": 150, "linger_ns": 40, "late_ns": 100}
    oracle, into = ReferenceTraces(closed_max=closed_max, **bounds), TraceTable(closed_max=closed_max, **bounds)
    stream = []
    for name in range(1, 900):
        now += source.choice((0, 0, 1))
        trace = source.choice(ids[now // 2 : now // 2 + 200]) * 2**64 // 7
        parent = source.choice((0, 1, 1, 1))
        ids_of_it = trace.to_bytes(16, "big"), name.to_bytes(8, "big"), parent.to_bytes(8, "big")
        stream.append((RawSpan(*ids_of_it, 1, 1, now, source.choice((1, 5, 90))), now))
    assert fed(into, stream) == [closed for it, at in stream for closed in oracle.take(it, at)]
    assert (into.late, into.overflowed, into.next_due_ns) == (oracle.late, oracle.overflowed, oracle.next_due_ns())
    assert rows(into.pass_time(now + 60)) == oracle.pass_time(now + 60)
    assert rows(into.flush()) == oracle.flush()


@settings(deadline=None, max_examples=50)
@given(streams(), BOUNDS, st.data())
def test_batches_and_restarts_change_nothing(stream: Stream, bounds: dict[str, int], data: st.DataObject) -> None:
    whole, into, found, start = TraceTable(**bounds), TraceTable(**bounds), [], 0
    expected = fed(whole, stream)
    while start < len(stream):
        end = data.draw(st.integers(start + 1, len(stream)))
        found += fed(into, stream[start:end])
        start = end
        if data.draw(st.booleans()):
            parts, into = into.parts(), TraceTable(**bounds)
            into.restore(parts)
            assert into.parts() == parts
    assert found == expected
    assert counts(into) == counts(whole)
    assert into.parts() == whole.parts()
    assert rows(into.flush()) == rows(whole.flush())


@settings(deadline=None, max_examples=50)
@given(streams(), BOUNDS)
def test_no_span_is_lost(stream: Stream, bounds: dict[str, int]) -> None:
    """Every span is in one closed trace, or open, or counted among those left out; and none is told that never came."""
    into = TraceTable(**bounds)
    closed = fed(into, stream)
    assert into.told == sum(len(trace.spans) for trace in closed)
    assert into.fed == len(stream) == into.told + into.spans + into.duplicates + into.late + into.cut + into.without_trace
    closed += rows(into.flush())
    assert (into.spans, len(into), into.bytes) == (0, 0, 0)
    assert into.fed == into.told + into.duplicates + into.late + into.cut + into.without_trace
    assert into.closed == len(closed)
    came = Counter((it.trace, it.id, it.operation, it.mark, it.instance) for it, _ in stream)
    seen = Counter((trace.trace, row.id, row.operation, row.mark, row.instance) for trace in closed for row in trace.spans)
    assert not seen - came
    times = [trace.closed_ns for trace in closed]
    assert times == sorted(times)


@settings(deadline=None, max_examples=60)
@given(streams(most=40), st.randoms(use_true_random=False))
def test_the_order_of_spans_changes_nothing(stream: Stream, source: random.Random) -> None:
    """As long as no trace closes meanwhile and no two spans have the same id."""
    spans = list({(it.trace, it.id): it for it, _ in stream if it.trace != bytes(16)}.values())
    bounds = {"traces_max": 100, "bytes_max": 1 << 20, "idle_ns": 10, "linger_ns": 10}
    other = list(spans)
    source.shuffle(other)
    one, two = (all_told([(it, 5) for it in order], **bounds) for order in (spans, other))
    assert sorted(one, key=lambda trace: trace.trace) == sorted(two, key=lambda trace: trace.trace)


@settings(deadline=None, max_examples=60)
@given(streams())
def test_trees_are_trees_in_preorder(stream: Stream) -> None:
    for trace in all_told(stream, traces_max=100, bytes_max=1 << 20, idle_ns=10, linger_ns=10):
        path: list[int] = []
        for place, row in enumerate(trace.spans):
            while path and path[-1] != row.parent:
                path.pop()
            assert (path[-1] if path else -1) == row.parent
            path.append(place)
            assert 0 <= row.self_ns <= row.duration_ns
            assert trace.start_ns <= trace.end_ns


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=30), st.integers(-(10**6), 10**6))
def test_a_service_whose_clock_is_wrong_changes_no_order_and_no_self_time(calls: list[tuple[int, int]], off: int) -> None:
    """Of calls that follow each other, each of which the called service tells as well."""
    spans, at = [], 10**7
    for number, (before, inner) in enumerate(calls):
        client, server = (1000 + number).to_bytes(8, "big"), (5000 + number).to_bytes(8, "big")
        at += before + 1
        spans.append(RawSpan(bytes(15) + b"\1", client, b"r" * 8, 2, 3, at, inner + 20))
        spans.append(RawSpan(bytes(15) + b"\1", server, client, 3 + number % 3, 2, at + 10, inner))
        at += inner + 20
    spans.append(RawSpan(bytes(15) + b"\1", b"r" * 8, NO_SPAN, 1, 2, 10**7, at - 10**7))
    wrong = [replace(it, start_ns=it.start_ns + off) if it.mark == 2 and it.parent != NO_SPAN else it for it in spans]
    bounds = {"traces_max": 100, "bytes_max": 1 << 20, "idle_ns": 10**12, "linger_ns": 10**12}
    (one,), (two,) = (all_told([(it, 5) for it in order], **bounds) for order in (spans, wrong))
    assert [(row.id, row.self_ns) for row in one.spans] == [(row.id, row.self_ns) for row in two.spans]
    assert one.marks == 0
    assert two.marks == (0 if -10 <= off <= 10 else 8)


# ---- stored --------------------------------------------------------------------------------------------------------


def filled() -> TraceTable:
    """A table that has met everything: traces with and without root, one of them full, and spans of all kinds left out."""
    into = TraceTable(traces_max=50, bytes_max=1 << 20, trace_spans_max=70, idle_ns=40, linger_ns=10, closed_max=20)
    source, stream = random.Random(7), []
    for now in range(240):
        trace, name, parent = 9 * 9, now, source.randint(1, 40)
        if now % 3:
            trace, name, parent = now // 15 + source.randint(0, 4), source.randint(1, 9), source.randint(0, 9)
        ids = trace.to_bytes(16, "big"), name.to_bytes(8, "big"), parent.to_bytes(8, "big")
        stream.append((RawSpan(*ids, name % 5, name % 6, now, source.randint(0, 9)), now))
    fed(into, stream)
    assert len(into) > 3
    assert into.spans > 64  # one of them has a table of ids
    assert min(into.closed, into.duplicates, into.late, into.cut) > 3
    return into


def test_damaged_parts_are_refused() -> None:
    parts = filled().parts()
    into = TraceTable(traces_max=50, bytes_max=1 << 20, idle_ns=40, linger_ns=10)
    for place in range(len(parts)):
        damaged = bytearray(parts)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match="damaged"):
            into.restore(bytes(damaged))
    for size in (*range(150), *range(150, len(parts), 97)):
        with pytest.raises(ValueError, match=r"damaged|are no traces"):
            into.restore(parts[:size])
    with pytest.raises(ValueError, match="damaged"):
        into.restore(parts + b"\0")
    assert len(into) == into.fed == into.now_ns == into.bytes == 0
    into.restore(parts)
    assert into.parts() == parts


@pytest.mark.parametrize(
    ("at", "patch"),
    [
        pytest.param(8, 2**62, id="now-too-late"),
        pytest.param(8, 5, id="now-before-spans"),
        pytest.param(16, 2, id="fewer-traces-opened-than-told"),
        pytest.param(24, 6, id="spans-do-not-add-up"),
        pytest.param(72, 2, id="more-overflowed-than-closed"),
        pytest.param(88, 3, id="more-traces"),
        pytest.param(96, 5, id="more-spans"),
        pytest.param(104, 2, id="more-closed"),
        pytest.param(112, bytes(16), id="trace-without-id"),
        pytest.param(112, bytes(15) + b"\3", id="trace-twice"),
        pytest.param(144, 3, id="number-not-given-yet"),
        pytest.param(168, 9, id="not-in-the-order-of-newest-spans"),
        pytest.param(168, 11, id="newest-span-after-now"),
        pytest.param(176, 20, id="root-time-without-root"),
        pytest.param(184, 2**64 - 1, id="root-without-its-time"),
        pytest.param(184, 2**62, id="root-too-late"),
        pytest.param(192, b"\0\0\0\0\4\0\0\0", id="trace-without-spans"),
        pytest.param(192, b"\1\0\0\0\2\0\0\0", id="sizes-add-up-to-less"),
        pytest.param(192, b"\2\0\0\0\3\0\0\0", id="sizes-add-up-to-more"),
        pytest.param(200, b"\1", id="mark-that-is-not-stored"),
        pytest.param(210, b"\0\0\0\0\0\0\0\1", id="span-twice"),
        pytest.param(266, 2**62, id="start-too-late"),
        pytest.param(298, 2**62, id="duration-too-long"),
        pytest.param(374, 11, id="closed-later-than-now"),
    ],
)
def test_parts_that_can_not_be_true_are_refused(at: int, patch: int | bytes) -> None:
    into = TraceTable(traces_max=9, bytes_max=1 << 20, idle_ns=9, linger_ns=9)
    stream = [(1, 1, 0, 0), (2, 1, 9, 9), (2, 2, 9, 10), (3, 1, 0, 10), (3, 2, 1, 10)]
    fed(into, [(RawSpan(t.to_bytes(16, "big"), n.to_bytes(8, "big"), p.to_bytes(8, "big")), now) for t, n, p, now in stream])
    body = into.parts()[:-8]
    other = TraceTable(traces_max=9, bytes_max=1 << 20, idle_ns=9, linger_ns=9)
    piece = struct.pack("<Q", patch) if isinstance(patch, int) else patch
    assert (len(body), into.closed) == (382, 1)
    assert body[at : at + len(piece)] != piece
    wrong = body[:at] + piece + body[at + len(piece) :]
    with pytest.raises(ValueError, match="damaged"):
        other.restore(wrong + struct.pack("<Q", check(wrong)))
    assert (other.fed, len(other), other.now_ns) == (0, 0, 0)
    other.restore(body + struct.pack("<Q", check(body)))
    assert rows(other.flush()) == rows(into.flush())


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_forged_parts_are_refused_or_harmless(data: st.DataObject) -> None:
    """With the right hash: what fits is taken and goes on working, what does not is refused."""
    body = bytearray(filled().parts()[:-8])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.one_of(st.integers(0, len(body) - 1), st.integers(0, 13).map(lambda k: 8 * k)))
        value = st.sampled_from(FAR).map(lambda x: struct.pack("<Q", x))
        patch = data.draw(st.one_of(st.binary(min_size=1, max_size=8), value))
        body[place : place + len(patch)] = patch
    if data.draw(st.integers(0, 4)) == 0:
        del body[data.draw(st.integers(0, len(body))) :]
    parts = bytes(body) + struct.pack("<Q", check(bytes(body)))
    into = TraceTable(traces_max=50, bytes_max=1 << 20, trace_spans_max=70, idle_ns=40, linger_ns=10, closed_max=20)
    try:
        into.restore(parts)
    except ValueError:
        assert len(into) == into.fed == into.spans == 0
        into.restore(filled().parts())
        return
    assert into.parts() == parts
    open_spans, before = into.spans, into.told
    closed = fed(into, [(RawSpan(bytes(15) + bytes([k]), bytes(7) + bytes([k])), 240 + k) for k in range(100)])
    closed += rows(into.flush())
    assert sum(len(trace.spans) for trace in closed) == (into.told - before) % 2**64
    assert (into.told - before) % 2**64 >= open_spans


@settings(deadline=None, max_examples=150)
@given(st.lists(st.binary(min_size=69, max_size=69), max_size=40), st.integers(1, 4), st.integers(0, 5))
def test_any_bits_are_spans(raw: list[bytes], traces: int, parents: int) -> None:
    """Nothing crashes, and nothing is lost."""
    fields = [struct.unpack("<16s8s8sIBQQIIQ", row) for row in raw]
    names = [row[1] for row in fields]
    into = TraceTable(traces_max=traces, bytes_max=1 << 20, idle_ns=2**60, linger_ns=2**59)
    closed = rows(
        into.feed(
            b"".join(bytes(15) + bytes([row[0][0] % 4]) for row in fields),
            b"".join(names),
            b"".join(names[(k + row[4]) % len(raw)] if parents else row[2] for k, row in enumerate(fields)),
            array("I", [row[3] for row in fields]),
            bytes(row[4] for row in fields),
            array("Q", [row[5] for row in fields]),
            array("Q", [row[6] for row in fields]),
            array("I", [row[7] for row in fields]),
            array("Q", [row[9] for row in fields]),
        )
    )
    closed += rows(into.flush())
    assert into.fed == len(raw) == into.told + into.duplicates + into.late + into.cut + into.without_trace
    assert sum(len(trace.spans) for trace in closed) == into.told


@given(st.integers(0, 3000))
def test_what_a_trace_counts_grows_with_its_spans(spans: int) -> None:
    assert trace_bytes(spans + 1) >= trace_bytes(spans)
    assert trace_bytes(spans) <= TRACE_BYTES + (spans + 3) // 4 * CHUNK_BYTES + 32 * spans
    assert trace_bytes(0) == TRACE_BYTES
    assert all(trace_bytes(k) - trace_bytes(k - 1) in {0, CHUNK_BYTES} for k in range(1, 65))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_the_bytes_of_a_table_are_those_of_its_traces(sizes: list[int]) -> None:
    into = TraceTable(traces_max=100, bytes_max=1 << 24, idle_ns=40, linger_ns=10)
    for trace, size in enumerate(sizes, 1):
        ids = ((trace.to_bytes(16, "big"), name.to_bytes(8, "big")) for name in range(1, size + 1))
        fed(into, [(RawSpan(*it, b"p" * 8), trace) for it in ids])
    assert into.bytes == sum(map(trace_bytes, sizes))
