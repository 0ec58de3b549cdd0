"""The statistical coder against its oracle: what it says, where its bits are, and its borders."""

from __future__ import annotations

import gc
from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbad_cy import codelength, reference_codelength
from cbad_cy.codelength import (
    BIT,
    BYTES_MAX_LEAST,
    BYTES_MAX_MOST,
    CAP_BITS,
    HALVING_EVENTS,
    LINE_BYTES_MAX,
    MARKS_MAX,
    Coder,
)
from tests.cbad_cy.coders import EVENTS, ROOMY, SLOTS, TEMPLATES, Event, code, columns, masked, oracle, stream
from tests.cbad_cy.lines import FRAGMENTS, LINES

# ---- what it says --------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from([2, 3, 17, HALVING_EVENTS]))
@example([(b"", [])] * 40, 5)
@example([(b"#", [value << 56 | value]) for value in range(50)] * 4, 30)
def test_it_is_what_the_oracle_says(events: list[Event], halving_events: int) -> None:
    coder = Coder(bytes_max=ROOMY, halving_events=halving_events)
    assert code(coder, events)[0] == oracle(events, halving_events)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_it_is_what_the_oracle_says_of_long_streams_of_real_lines(seed: int) -> None:
    events = stream(seed, 1500)
    coder = Coder(bytes_max=ROOMY, halving_events=400)
    assert code(coder, events)[0] == oracle(events, 400)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(LINES, SLOTS), max_size=20))
def test_any_bytes_are_coded_as_the_oracle_codes_them(events: list[Event]) -> None:
    assert code(Coder(bytes_max=ROOMY), events)[0] == oracle(events)


def test_known_numbers() -> None:
    """By hand: the bits of a small stream, to 1/1024."""
    coder = Coder()
    costs, _ = code(coder, [(b"ab c", [])] * 3)
    spelled = (2 + 9) + (2 + 4.5) + (2 + 4.5)
    # second: 1/2 without a context, which is then new; third: 2/3 blended with (1 + 2/3) / 2
    assert costs == [int(spelled * BIT), BIT, round(-reference_log2((1 + 2 / 3) / 2) * BIT)]


def reference_log2(x: float) -> float:
    """By bisection, to stay clear of any library's logarithm."""
    low, high = -1.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 2.0**middle < x else (low, middle)
    return low


def test_bits_on_this_machine_are_those_of_every_machine() -> None:
    costs, templates = Coder(bytes_max=8192, halving_events=1000).code(*columns(stream(7, 3000)), context=0, learn=True)
    digest = 0
    for number in [*costs, *templates]:
        digest = (digest * 1_000_003 + number) % 2**61
    assert (sum(costs), digest) == PINNED


PINNED = (38478243, 644169319016895945)


def test_what_is_usual_is_cheap_and_what_is_new_is_dear() -> None:
    coder = Coder()
    _, context = code(coder, stream(1, 3000, novel=0.005))
    usual, _ = code(coder, masked([b"stored order 500000000 for 10.0.0.3 in 77 ms"]), context, learn=False)
    far, _ = code(coder, masked([b"stored order 500000000 for 10.9.9.99 in 77 ms"]), context, learn=False)
    huge, _ = code(coder, masked([b"stored order 500000000 for 10.0.0.3 in 7700000 ms"]), context, learn=False)
    alien, _ = code(coder, masked([b"kernel: oops, page fault in interrupt handler"]), context, learn=False)
    assert usual[0] < 14 * BIT
    assert far[0] > usual[0] + 3 * BIT
    assert huge[0] > usual[0] + 5 * BIT
    assert alien[0] > 150 * BIT


def test_an_event_costs_at_most_the_cap_and_a_dear_one_reaches_it() -> None:
    costs, _ = code(Coder(), [(b"x%dy " % number * 40, []) for number in range(3)])
    assert costs[0] == CAP_BITS * BIT


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.tuples(TEMPLATES, SLOTS), st.integers(0, 3))
def test_learning_an_event_never_makes_it_dearer_unless_its_tokens_said_more(
    events: list[Event], event: Event, again: int
) -> None:
    coder = Coder(bytes_max=ROOMY)
    _, context = code(coder, events)
    code(coder, [event] * again, context)
    template = coder.code(*columns([event]), context=context, learn=False)[1][0]
    told = coder.explain(event[0], array("Q", event[1]), context=context)
    before = round(told.total * BIT)
    coder.learn_lines(*columns([event]), array("Q", [context]))
    after = code(coder, [event], context, learn=False)[0][0]
    distinct = len({line for line, _ in events})
    assert template > 0
    if not told.new or sum(bits for _, _, bits in told.tokens) > distinct.bit_length():
        assert after <= before + 2  # each of the parts is rounded


def test_coding_alone_changes_nothing() -> None:
    coder = Coder()
    code(coder, stream(2, 200))
    parts = coder.parts()
    assert code(coder, stream(3, 50), learn=False) == code(coder, stream(3, 50), learn=False)
    coder.explain(b"never seen", array("Q", [5]), context=1)
    assert coder.parts() == parts


def test_later_learning_with_contexts_is_learning_in_order() -> None:
    events, one, other = stream(4, 300), Coder(), Coder()
    _, templates = one.code(*columns(events), context=0, learn=True)
    other.learn_lines(*columns(events), array("Q", [0, *templates[:-1]]))
    assert one.parts() == other.parts()


def test_batches_change_nothing() -> None:
    events, whole, pieces, context = stream(5, 400), Coder(), Coder(), 0
    costs: list[int] = []
    for start in range(0, 400, 7):
        part, context = code(pieces, events[start : start + 7], context)
        costs += part
    assert costs == code(whole, events)[0]
    assert pieces.parts() == whole.parts()


# ---- explanations --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.tuples(TEMPLATES, SLOTS))
def test_a_breakdown_adds_up_and_its_spans_are_the_tokens(events: list[Event], event: Event) -> None:
    coder = Coder()
    _, context = code(coder, events)
    told = coder.explain(event[0], array("Q", event[1]), context=context)
    total = told.template + sum(told.slots) + (sum(bits for _, _, bits in told.tokens) if told.new else 0)
    assert round(told.total * BIT) == code(coder, [event], context, learn=False)[0][0]
    assert told.total == pytest.approx(min(total, CAP_BITS), abs=0.01)
    assert [(start, stop) for start, stop, _ in told.tokens] == reference_codelength.token_spans(event[0])
    assert len(told.slots) == min(len(event[1]), 16)


def test_a_breakdown_points_at_what_is_new() -> None:
    coder = Coder()
    _, context = code(coder, stream(6, 2000))
    line, slots = masked([b"stored order 500000000 for basilisk in 77 ms"])[0]
    told = coder.explain(line, array("Q", slots), context=context)
    dearest = max(told.tokens, key=lambda token: token[2])
    assert line[dearest[0] : dearest[1]] == b"basilisk"
    line, slots = masked([b"stored order 500000000 for 10.0.0.3 in 7700000 ms"])[0]
    told = coder.explain(line, array("Q", slots), context=context)
    assert not told.new
    assert told.slots.index(max(told.slots)) == 2


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.tuples(st.one_of(TEMPLATES, LINES), SLOTS))
@example([], (b"every token of this line is new and there are more of them than are kept " * 2, [7] * 16))
@example([], (b"a bc " * 300, [value << 56 for value in range(18)]))
def test_marks_are_the_dearest_parts(events: list[Event], event: Event) -> None:
    coder, learned, before = Coder(bytes_max=ROOMY), reference_codelength.Coder(), None
    _, context = code(coder, events)
    for line, slots in events:
        learned.learn(line, slots, before)
        before = line
    parts = coder.parts()
    marks = coder.marks(event[0], array("Q", event[1]), context=context)
    assert [(start, stop, slot, bits * BIT) for start, stop, slot, bits in marks] == learned.marks(*event)
    assert len(marks) <= MARKS_MAX
    assert coder.parts() == parts


def test_marks_of_a_dear_line_are_bits_of_its_breakdown() -> None:
    coder = Coder()
    _, context = code(coder, stream(6, 2000))
    line, slots = masked([b"stored order 500000000 for basilisk in 7700000 ms"])[0]
    told = coder.explain(line, array("Q", slots), context=context)
    marks = coder.marks(line, array("Q", slots), context=context)
    dearest = max(marks, key=lambda mark: mark[3])
    assert line[dearest[0] : dearest[1]] == b"basilisk"
    spelled = {(start, stop): bits for start, stop, bits in told.tokens}
    assert all(abs(bits - spelled[start, stop]) <= 1 / BIT for start, stop, slot, bits in marks if slot < 0)
    assert coder.marks(line, array("Q", slots), context=1) == marks  # where a line stands costs its template alone


def test_marks_of_a_usual_line_are_none_and_those_of_a_known_one_are_slots() -> None:
    coder = Coder()
    _, context = code(coder, stream(1, 3000, novel=0.005))
    usual, huge = masked([b"stored order 500000000 for 10.0.0.3 in %d ms" % took for took in (777, 7_700_000)])
    assert coder.marks(usual[0], array("Q", usual[1]), context=context) == []
    [(start, stop, slot, bits)] = coder.marks(huge[0], array("Q", huge[1]), context=context)
    assert (start, stop, slot) == (0, 0, 2)
    assert bits > 5


# ---- borders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bytes_max", [0, BYTES_MAX_LEAST - 1, BYTES_MAX_MOST + 1])
def test_the_table_has_limits(bytes_max: int) -> None:
    with pytest.raises(ValueError, match="choose 4096 to 16777216"):
        Coder(bytes_max=bytes_max)


@pytest.mark.parametrize("halving_events", [0, 1, HALVING_EVENTS + 1])
def test_halving_has_limits(halving_events: int) -> None:
    with pytest.raises(ValueError, match="choose 2 to 32768"):
        Coder(halving_events=halving_events)


def test_columns_have_to_fit() -> None:
    coder = Coder()
    lengths, slots, counts, none = array("I", [1]), array("Q", [1]), array("B", [1]), array("Q")
    for text, sizes, values, numbers, why in [
        (b"ab", lengths, slots, counts, "lengths add up to 1 bytes but the text has 2"),
        (b"a", lengths, slots, array("B"), "1 lines but 0 slot counts"),
        (b"a", lengths, none, counts, "slot counts add up to 1 but there are 0"),
    ]:
        with pytest.raises(ValueError, match=why):
            coder.code(text, sizes, values, numbers, context=0, learn=True)
        with pytest.raises(ValueError, match=why):
            coder.learn_lines(text, sizes, values, numbers, none)
    with pytest.raises(ValueError, match="1 lines but 0 contexts"):
        coder.learn_lines(b"a", lengths, slots, counts, none)
    assert coder.parts() == Coder().parts()
    assert coder.code(b"", array("I"), none, array("B"), context=0, learn=True) == (array("I"), none)


def test_a_line_over_the_limit_is_refused_and_one_at_it_is_not() -> None:
    coder, none = Coder(), array("Q")
    coder.explain(bytes(LINE_BYTES_MAX), none, context=0)
    code(coder, [(bytes(LINE_BYTES_MAX), [])])
    with pytest.raises(ValueError, match="over LINE_BYTES_MAX"):
        coder.explain(bytes(LINE_BYTES_MAX + 1), none, context=0)
    with pytest.raises(ValueError, match="over LINE_BYTES_MAX"):
        code(coder, [(bytes(LINE_BYTES_MAX + 1), [])])


def test_only_the_first_slots_and_tokens_are_looked_at() -> None:
    one, other = Coder(), Coder()
    assert code(one, [(b"a", [7] * 16)]) == code(other, [(b"a", [7] * 16 + [9])])
    assert one.parts() == other.parts()
    long = b"a b c d " * 64
    for tail, coder in ((b"xyz", one), (b"other words", other)):
        coder.reset()
        code(coder, [(b"%s" % long, [])])
        assert len(long.split()) == codelength.TOKENS_LEARNED_MAX
        known = coder.parts()
        coder.reset()
        code(coder, [(long + tail, [])])
        assert len(coder.parts()) == len(known)


def test_four_threads_code_as_one() -> None:
    streams = [stream(seed, 2000) for seed in range(8)]
    alone = [code(Coder(), events) for events in streams]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda events: code(Coder(), events), streams)) == alone


def test_fragments_of_every_rule_are_coded() -> None:
    coder = Coder()
    events = masked([b"%s x%s" % (fragment, fragment) for fragment in FRAGMENTS])
    assert code(coder, events)[0] == oracle(events)
    del coder
    gc.collect()
