"""Traces as trees for people."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.traces.tree import Gathered, TraceTree
from tests.engine.traces.rows import CLIENT, ERROR, INTERNAL, MS, SERVER, START_NS, Span, batch_of

TRACE = (7).to_bytes(16, "big")
SPANS = (
    Span(7, 1, 0, "shop", "GET /cart", SERVER, START_NS, 100 * MS, instance="shop-1"),
    Span(7, 2, 1, "shop", "SELECT", CLIENT, START_NS + 10 * MS, 20 * MS),
    Span(7, 3, 1, "shop", "POST /pay", CLIENT, START_NS + 40 * MS, 50 * MS),
    Span(7, 4, 3, "pay", "POST /pay", SERVER, START_NS + 45 * MS, 40 * MS, ERROR, "pay-2"),
)


def tree_of(*spans: Span, spans_max: int = 100, subtrees: tuple[tuple[str, ...], ...] = ()) -> TraceTree:
    gathered = Gathered(TRACE, spans_max)
    gathered.take(batch_of(spans))
    return gathered.tree(subtrees)


def test_a_trace_among_others_becomes_a_tree() -> None:
    others = [replace(span, trace=8, span=span.span + 10) for span in SPANS]
    tree = tree_of(*others[:2], *reversed(SPANS), *others[2:])
    assert (tree.trace_id, tree.start_ns, tree.end_ns, tree.marks, tree.cut) == (
        TRACE.hex(),
        START_NS,
        START_NS + 100 * MS,
        (),
        False,
    )
    assert [(it.depth, it.service, it.operation, it.kind) for it in tree.spans] == [
        (0, "shop", "GET /cart", "server"),
        (1, "shop", "SELECT", "client"),
        (1, "shop", "POST /pay", "client"),
        (2, "pay", "POST /pay", "server"),
    ]
    first, *_, last = tree.spans
    assert (first.parent_id, first.instance, first.self_ns, first.error) == ("", "shop-1", 30 * MS, False)
    assert (last.parent_id, last.instance, last.duration_ns, last.error) == (tree.spans[2].span_id, "pay-2", 40 * MS, True)
    assert last.start_ns == START_NS + 45 * MS


def test_orphans_are_visible() -> None:
    tree = tree_of(SPANS[0], SPANS[3])
    assert [(it.depth, it.orphan, it.parent_id) for it in tree.spans] == [(0, False, ""), (0, True, f"{3:016x}")]
    assert "orphans" in tree.marks


def test_a_span_that_came_twice_is_there_once() -> None:
    tree = tree_of(*SPANS, SPANS[1])
    assert len(tree.spans) == 4
    assert "duplicates" in tree.marks


def test_what_findings_call_new_is_marked_where_it_stands() -> None:
    extra = Span(7, 5, 4, "pay", "SELECT", CLIENT, START_NS + 50 * MS, MS)
    subtrees = (("  pay POST /pay", "+   pay SELECT x2", "-   pay INSERT"),)
    tree = tree_of(*SPANS, extra, replace(extra, span=6, parent=1, service="pay"), subtrees=subtrees)
    assert [(it.span_id[-1], it.new) for it in tree.spans if it.operation == "SELECT"] == [
        ("2", False),
        ("5", True),
        ("6", False),
    ]
    root = tree_of(*SPANS, subtrees=(("+ shop POST /pay", "+   pay POST /pay"),))
    assert [it.new for it in root.spans] == [False, False, True, True]


def test_spans_max() -> None:
    assert tree_of(*SPANS, spans_max=3).cut
    assert len(tree_of(*SPANS, spans_max=3).spans) == 3
    assert not tree_of(*SPANS, spans_max=4).cut


def test_ids_that_only_overlap_are_of_no_trace() -> None:
    """The 16 bytes of an id may stand across two others."""
    gathered = Gathered(bytes([0] * 8 + [1] * 8), 9)
    across = batch_of([Span(int.from_bytes(bytes([1] * 16)), 1, 0, "a", "b", INTERNAL, 1, 1)])
    across.trace_ids = bytes([2] * 8 + [0] * 8) + bytes([1] * 8 + [2] * 8)
    across.span_ids *= 2
    across.parent_ids *= 2
    assert gathered.take(across) == 0


@pytest.mark.parametrize("trace_id", [b"", bytes(16), b"x" * 15])
def test_what_is_no_trace_id_is_refused(trace_id: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Gathered(trace_id, 1)


def test_nothing_found_is_an_empty_tree() -> None:
    tree = Gathered(TRACE, 9).tree()
    assert (tree.spans, tree.start_ns, tree.end_ns) == ((), 0, 0)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12), st.integers(0, 50), st.integers(0, 50)), max_size=12))
def test_every_span_is_told_once_behind_its_parent(rows: list[tuple[int, int, int, int]]) -> None:
    spans = [Span(7, span, parent, "s", f"op{span}", INTERNAL, START_NS + start, took) for span, parent, start, took in rows]
    tree = tree_of(*spans)
    assert sorted(it.span_id for it in tree.spans) == sorted({f"{span:016x}" for span, *_ in rows})
    seen: dict[str, int] = {}
    for it in tree.spans:
        assert it.orphan == (it.depth == 0 and it.parent_id != "")
        if it.depth:
            assert seen[it.parent_id] == it.depth - 1
        seen[it.span_id] = it.depth
