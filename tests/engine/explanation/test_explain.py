"""What a person gets of a finding: lines, spans, paths, missing lines, instances, proof and one sentence for each question."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.codelength import BIT, Coder
from cbad_cy.tokenize import mask_line, mask_with_slots
from driftlock.engine.explanation.explain import Explanation, LineCost, Suspicion, explain
from driftlock.engine.explanation.naming import COVERED_BYTES_MAX
from driftlock.engine.explanation.suspects import DEAR_BITS, INSTANCES_MAX, MISSING_MAX
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import NovelLine, Question
from driftlock.engine.window import Event

ALPHA = 0.05
DAY_NS = 86_400 * 10**9
USUAL = ["INFO order 17 stored in 3 ms", "INFO cart 4 loaded by worker 2", "DEBUG session 5 refreshed"]
KNOWN = Counter({mask_line(line.encode()): 100 for line in USUAL})
CHEAP, DEAR = LineCost(3.0), LineCost(90.0)


def events_of(texts: Sequence[str], instances: Sequence[str] = ()) -> list[Event]:
    return [
        Event(text.encode(), mask_line(text.encode()), 1000 + at, instance=instances[at] if instances else "")
        for at, text in enumerate(texts)
    ]


def usual(count: int) -> list[str]:
    return [USUAL[at % len(USUAL)] for at in range(count)]


def told(
    texts: Sequence[str],
    costs: Sequence[LineCost] | None = None,
    suspicion: Suspicion | None = None,
    reason: Sequence[int] | None = None,
    instances: Sequence[str] = (),
    baseline: "Counter[bytes]" = KNOWN,
    **more: object,
) -> Explanation:
    """Explained; the window is abnormal as long as an event at one of the `reason` places (default: dear ones) is there."""
    events = events_of(texts, instances)
    if costs is None:
        costs = [CHEAP if event.masked in baseline else DEAR for event in events]
    strange = {at for at, cost in enumerate(costs) if cost.bits > 20} if reason is None else set(reason)
    arguments = {"alpha": ALPHA, "limits": Limits(), "seed": 1, "stream": "checkout"} | more
    return explain(
        events,
        100,
        baseline,
        costs,
        suspicion or Suspicion(),
        lambda places: 0.004 if strange - places else 0.6,
        **arguments,  # type: ignore[arg-type]
    )


def parts(line: NovelLine) -> list[str]:
    return [line.text.encode()[start:stop].decode() for start, stop in line.spans]


# ---- new lines and unusual values ------------------------------------------------------------------------------------


def test_new_lines_are_named_with_their_bytes_places_and_neighbour() -> None:
    cost = LineCost(80.0, tokens=((13, 20, 14.0), (22, 27, 12.5), (28, 33, 9.0)))
    result = told(
        ["INFO order 19 refused: fraud score 0.93 user.kind=guest", *usual(9)], [cost, *[CHEAP] * 9], memory_ns=9 * DAY_NS
    )
    [line] = result.lines
    assert (line.event, line.time_ns, line.count, line.bits, line.cost_bytes) == (100, 1000, 1, 80.0, 10)
    assert parts(line) == ["refused: fraud score"]
    assert (line.span_bits, line.span_paths) == ((35.5,), ("body",))
    assert line.nearest == "INFO order # stored in # ms"
    assert line.share == 1.0
    assert result.sentence == (
        "1 of 10 lines from checkout is new: `INFO order <num> refused: fraud score <num> user.kind=guest`, "
        "never seen in the last 9 days; usually `INFO order <num> stored in <num> ms`."
    )


def test_equal_forms_are_one_line_with_a_count_told_by_the_dearest() -> None:
    texts = [*usual(40), *(f"ERROR gateway timeout after {n} ms" for n in range(10))]
    result = told(texts, [CHEAP] * 40 + [DEAR] + [LineCost(9.5)] * 9, reason=range(40, 50))
    [line] = result.lines
    assert (line.count, line.event, line.bits) == (10, 140, 90.0)
    assert result.sentence.startswith("10 of 50 lines from checkout are new: `ERROR gateway timeout after <num> ms`")
    assert result.verified


def test_never_is_said_only_where_it_is_known() -> None:
    texts = ["ERROR gateway timeout", *usual(9)]
    coded = [LineCost(90.0, tokens=((0, 5, 20.0),)), *[CHEAP] * 9]
    assert ", never seen in the last 24 hours;" in told(texts, coded, memory_ns=DAY_NS).sentence
    assert "never" not in told(texts, coded).sentence
    assert "never" not in told(texts, [DEAR, *[CHEAP] * 9], memory_ns=DAY_NS).sentence


def test_an_unusual_value_is_a_span_of_a_known_line() -> None:
    texts = ["INFO GET /api/pay status 200 in 7 ms"] * 9 + ["INFO GET /api/pay status 500 in 8 ms"]
    known = Counter({mask_line(texts[0].encode()): 300})
    result = told(texts, [CHEAP] * 9 + [LineCost(14.0, slots=((1, 11.0), (2, 3.0)))], reason=[9], baseline=known)
    [line] = result.lines
    assert (parts(line), line.span_bits, line.count) == (["500"], (11.0,), 1)
    assert result.sentence == (
        "1 of 10 lines from checkout holds unusual values: `INFO GET /api/pay status 500 in <num> ms`; "
        "usually `INFO GET /api/pay status <num> in <num> ms`."
    )
    assert result.verified


@pytest.mark.parametrize(
    ("text", "word", "path"),
    [
        ("ERROR payment failed http.route=/pay error.type=Refused", "Refused", "error.type"),
        ("FATAL payment failed", "FATAL", "severity"),
        ('{"http": {"error": {"kind": "Refused"}}}', "Refused", "http.error.kind"),
        ("ERROR payment failed http.route=/pay", "payment", "body"),
    ],
)
def test_spans_have_the_path_of_where_they_stand(text: str, word: str, path: str) -> None:
    start = mask_line(text.encode()).index(word.encode())
    result = told([text, *usual(9)], [LineCost(50.0, tokens=((start, start + len(word), 15.0),)), *[CHEAP] * 9])
    assert parts(result.lines[0]) == [word]
    assert result.lines[0].span_paths == (path,)


def test_without_token_bits_new_bytes_are_looked_for_and_have_no_bits() -> None:
    result = told(["INFO order 19 refused: fraud score 0.93", *usual(9)])
    assert parts(result.lines[0]) == ["refused: fraud score"]
    assert result.lines[0].span_bits == ()
    late = told(["INFO " + "order " * (COVERED_BYTES_MAX // 6) + "refused: fraud", *usual(9)])
    assert not any("fraud" in part for part in parts(late.lines[0]))


def test_a_window_that_is_new_for_the_most_part_is_named_though_nothing_can_be_proved() -> None:
    texts = [f"ERROR disk {'abcdefgh'[at % 8]}x failing {'now ' * (at % 8)}" for at in range(45)] + usual(5)
    result = told(texts)
    assert result.sentence.startswith("45 of 50 lines from checkout are new, of 8 kinds, above all")
    assert sum(line.count for line in result.lines) == 45
    assert sum(line.share for line in result.lines) == pytest.approx(1.0)
    assert not result.verified


def test_as_few_lines_as_restore_normality_are_named_and_what_else_is_new() -> None:
    texts = [
        *usual(40),
        "alpha beta",
        "gamma delta",
        *usual(6),
        "INFO order 1 stored in 999999 ms",
        "INFO order 2 stored in 5 ms",
    ]
    costs = [CHEAP] * 40 + [LineCost(200.0), LineCost(60.0)] + [CHEAP] * 6 + [LineCost(40.0), LineCost(20.0)]
    result = told(texts, costs, reason=[40])
    assert [line.event for line in result.lines] == [140, 141]
    assert result.verified
    more = told(texts, costs, reason=[40, 48])
    assert [line.event for line in more.lines] == [140, 141, 148]
    assert more.verified


def test_lines_that_are_not_the_reason_are_shown_unverified() -> None:
    result = told([*usual(49), "alpha beta"], reason=[0])
    assert [line.event for line in result.lines] == [149]
    assert (result.p_without, result.p_without_others, result.verified) == (0.004, 0.004, False)


def test_lines_and_missing_lines_and_instances_are_bounded() -> None:
    names = [chr(97 + at) * 3 for at in range(26)]
    texts = [f"{name} happened" for name in names] + usual(4)
    common = Counter({f"usual {name}".encode(): 20 for name in names[:5]})
    result = told(
        texts, baseline=KNOWN, instances=[f"pod-{at:02d}" for at in range(30)], limits=replace(Limits(), finding_lines_max=4)
    )
    assert len(result.lines) == 4
    assert len(
        told(texts, instances=[f"pod-{at:02d}" for at in range(30)], limits=replace(Limits(), finding_lines_max=26)).instances
    ) == (INSTANCES_MAX)
    assert len(told([*texts, *texts, *texts], baseline=common).missing) == MISSING_MAX


def test_usual_lines_that_were_displaced_are_missing() -> None:
    result = told(["ERROR gateway timeout"] * 40 + USUAL[:1] * 10)
    texts = [missing.text for missing in result.missing]
    assert texts == ["DEBUG session # refreshed", "INFO cart # loaded by worker #"]
    assert {missing.observed for missing in result.missing} == {0.0}
    assert result.missing[0].expected == pytest.approx(50 / 3)
    assert result.missing[0].horizon == 50
    assert told([*usual(49), "alpha"]).missing == ()


def test_who_said_the_named_lines() -> None:
    result = told(["alpha beta"] * 3 + usual(27), instances=["pod-7", "pod-7", "pod-3", *["pod-3", "pod-1"] * 13, "pod-7"])
    assert [(it.instance, it.events, it.named) for it in result.instances] == [("pod-7", 3, 2), ("pod-3", 14, 1)]
    assert told(["alpha beta", *usual(9)]).instances == ()


def test_a_changed_mix_is_said_so() -> None:
    result = told(USUAL[:1] * 9 + USUAL[1:2], [CHEAP] * 10, reason=range(9))
    assert result.sentence == (
        "No line is new, the mix changed: 9 of 10 lines are like `INFO order <num> stored in <num> ms`, usually 3.3 of 10."
    )
    assert result.lines[0].spans == ()
    new = told(["alpha"] * 9 + USUAL[1:2], [CHEAP] * 10, reason=range(9))
    assert new.sentence == "The mix changed: 9 of 10 lines are like `alpha`, usually none."


def test_a_mix_that_hardly_changed_is_not_said_to_have_changed() -> None:
    result = told(usual(50), [CHEAP] * 50, reason=[0])
    assert result.sentence == (
        "Usual lines in an unusual combination: 17 of 50 are like `INFO order <num> stored in <num> ms`."
    )


def test_a_usual_line_in_an_unusual_place_holds_no_unusual_value() -> None:
    known = Counter({b"open": 100, b"commit": 100})
    texts = ["open", "commit"] * 5
    place = told(texts, [CHEAP] * 9 + [LineCost(15.0)], reason=[9], baseline=known)
    assert place.sentence == "1 of 10 lines from checkout came where it usually does not: `commit` after `open`."
    many = told(texts, [CHEAP] * 7 + [LineCost(15.0), CHEAP, LineCost(15.0)], reason=[9], baseline=known)
    assert many.sentence == "2 of 10 lines from checkout came where they usually do not: `commit` after `open`."
    assert many.verified is place.verified


def test_where_nobody_knows_why_a_usual_line_is_dear_the_combination_is_told() -> None:
    cheap_values = told(usual(10), [CHEAP] * 4 + [LineCost(13.0)] + [CHEAP] * 5, reason=[4])
    assert cheap_values.sentence.startswith("Usual lines in an unusual combination: 4 of 10 are like")
    compressed = told(["open", "commit"] * 5, [LineCost(8.0), LineCost(64.0)] * 5, baseline=Counter({b"open": 9, b"commit": 9}))
    assert compressed.sentence == "Usual lines in an unusual combination: 5 of 10 are like `open`."


# ---- how often, and in what order ------------------------------------------------------------------------------------


def asked(question: Question, line: str, observed: float, expected: float, horizon: int, subject: str = "") -> Suspicion:
    return Suspicion(question, subject, mask_line(line.encode()), observed, expected, horizon)


def test_a_line_that_came_too_often() -> None:
    result = told([*usual(30), *USUAL[:1] * 8], [CHEAP] * 38, asked(Question.MORE, USUAL[0], 41, 4, 500), reason=range(37, 38))
    assert (
        result.sentence == "`INFO order <num> stored in <num> ms` came about 41 times in about the last 500 lines, usually 4."
    )
    [line] = result.lines
    assert (line.count, line.share, line.spans) == (18, 1.0, ())
    assert result.verified


def test_what_was_to_be_expected_of_a_frequent_line_is_not_taken_away() -> None:
    removed: list[frozenset[int]] = []

    def without(places: frozenset[int]) -> float:
        removed.append(places)
        return 0.6 if min(places) == 5 else 0.004

    suspicion = asked(Question.MORE, USUAL[0], 100, 50, 500)
    events = events_of(USUAL[:1] * 10 + usual(0) + ["INFO cart 4 loaded by worker 2"] * 20)
    result = explain(events, 0, KNOWN, [CHEAP] * 30, suspicion, without, alpha=ALPHA, limits=Limits(), seed=1)
    assert removed[0] == frozenset(range(5, 10))
    assert len(removed[1]) == 5
    assert result.verified


def test_lines_that_the_window_holds_are_counted_in_it() -> None:
    often = told([*usual(30), *USUAL[:1] * 8], [CHEAP] * 38, asked(Question.MORE, USUAL[0], 7, 1.5, 19), reason=[37])
    assert often.sentence == "`INFO order <num> stored in <num> ms` came 18 times in the last 38 lines, usually 3."
    seldom = told(usual(9), [CHEAP] * 9, asked(Question.LESS, USUAL[0], 0, 8, 9), reason=[0])
    assert seldom.sentence == "`INFO order <num> stored in <num> ms` came 3 times in the last 9 lines, usually 8."
    assert (seldom.missing[0].observed, seldom.missing[0].expected, seldom.missing[0].horizon) == (3, 8, 9)
    late = told(usual(9), [CHEAP] * 9, asked(Question.LESS, USUAL[0], 0, 80, 500), reason=[0])
    assert late.sentence == "`INFO order <num> stored in <num> ms` came about 3 times in about the last 500 lines, usually 80."


def test_a_frequent_line_of_which_none_is_in_the_window() -> None:
    result = told(usual(10), [CHEAP] * 10, asked(Question.MORE, "cache miss", 41, 0, 500), reason=[0])
    assert result.sentence == "`cache miss` came about 41 times in about the last 500 lines, usually never."
    assert (result.lines, result.verified) == ((), False)


def test_a_line_that_did_not_come() -> None:
    result = told(usual(10), [CHEAP] * 10, asked(Question.LESS, "heartbeat ok", 0, 120, 500), reason=[0])
    assert result.sentence == "`heartbeat ok` has not come in the last 500 lines, usually 120."
    [missing] = result.missing
    assert (missing.text, missing.expected, missing.observed, missing.horizon) == ("heartbeat ok", 120, 0, 500)
    assert (result.lines, result.verified, result.p_without) == ((), False, 0.004)


def test_a_line_that_nobody_remembers_is_not_made_up() -> None:
    more = told(usual(10), [CHEAP] * 10, Suspicion(Question.MORE, "", b"", 41, 4, 500), reason=[0])
    assert (more.sentence, more.lines) == ("A line came about 41 times in about the last 500 lines, usually 4.", ())
    less = told(usual(10), [CHEAP] * 10, Suspicion(Question.LESS, "", b"", 1, 4.2, 500), reason=[0])
    assert (less.sentence, less.missing) == ("A usual line came about once in about the last 500 lines, usually 4.2.", ())


def test_an_unusual_order() -> None:
    costs = [CHEAP] * 4 + [LineCost(15.0)] + [CHEAP] * 5
    result = told(usual(10), costs, Suspicion(Question.ORDER), reason=[4])
    assert result.sentence == (
        "The usual lines came in an unusual order: `INFO cart <num> loaded by worker <num>` right after "
        "`INFO order <num> stored in <num> ms`."
    )
    assert [line.event for line in result.lines] == [104]
    assert result.verified
    flat = told(usual(10), [CHEAP] * 10, Suspicion(Question.ORDER), reason=[4])
    assert (flat.sentence, flat.lines) == ("The usual lines came in an unusual order.", ())


@pytest.mark.parametrize("template", [USUAL[0], ""])
def test_one_line_again_and_again(template: str) -> None:
    suspicion = (
        asked(Question.REPETITION, template, 31, 9, 50) if template else Suspicion(Question.REPETITION, "", b"", 1.2, 9, 50)
    )
    result = told(USUAL[:1] * 48 + USUAL[1:], [CHEAP] * 50, suspicion, reason=[47])
    assert result.sentence == (
        "One line again and again: `INFO order <num> stored in <num> ms` came 48 times in the last 50 lines, usually 17."
    )
    assert result.lines[0].count == 48


def test_little_variety_is_no_line_again_and_again() -> None:
    forms = Counter({f"{letter} happened".encode(): 10 for letter in "abcdefghijkl"} | {b"tick": 60})
    texts = ["tick"] * 20 + ["a happened"] * 8 + ["b happened"] * 7
    suspicion = Suspicion(Question.REPETITION, "", b"tick", 3.2, 9.9, 35)
    result = told(texts, [CHEAP] * 35, suspicion, reason=[0], baseline=forms)
    assert result.sentence == "Only 3 different lines in the last 35, usually about 11."
    assert (result.lines, result.verified) == ((), False)
    unknown = told(["tick"], [CHEAP], suspicion, reason=[0], baseline=Counter({b"tick": 0}))
    assert unknown.sentence == "Only 1 different line in the last 1."
    various = told(usual(9), [CHEAP] * 9, suspicion, reason=[0])
    assert various.sentence == "The same lines again and again: 3 different lines in the last 9."


# ---- one instance or interaction -------------------------------------------------------------------------------------


def test_an_instance_with_new_lines() -> None:
    instances = [f"pod-{at % 10}" for at in range(50)]
    texts = ["disk is failing" if instances[at] == "pod-7" and at > 10 else text for at, text in enumerate(usual(50))]
    result = told(texts, None, Suspicion(Question.INSTANCE, "pod-7"), instances=instances)
    assert result.sentence.startswith("pod-7 is unlike the other instances: 4 of its 5 lines are new: `disk is failing`")
    assert [(it.instance, it.events, it.named) for it in result.instances] == [("pod-7", 5, 4)]
    assert result.verified


@pytest.mark.parametrize(
    ("observed", "expected", "often", "missing"),
    [(41, 4, "came 41 times in its newest lines, usually 4", 0), (0, 12, "has not come in its newest lines, usually 12", 1)],
)
def test_an_instance_with_another_mix(observed: float, expected: float, often: str, missing: int) -> None:
    suspicion = asked(Question.INSTANCE, USUAL[0], observed, expected, 50, "pod-7")
    texts = usual(10) if observed else USUAL[1:2] * 10
    result = told(texts, [CHEAP] * 10, suspicion, reason=[0], instances=["pod-7"] * 10)
    assert result.sentence == f"pod-7 is unlike the other instances: `INFO order <num> stored in <num> ms` {often}."
    assert len(result.missing) == missing
    assert len(result.lines) == 1 - missing


def test_an_instance_that_says_a_usual_line_too_often_is_told_by_that_line() -> None:
    suspicion = asked(Question.INSTANCE, USUAL[0], 41, 4, 50, "pod-7")
    result = told([*USUAL[:1] * 9, USUAL[1]], [CHEAP] * 9 + [LineCost(12.0)], suspicion, [9], ["pod-7"] * 10)
    assert result.sentence == (
        "pod-7 is unlike the other instances: "
        "`INFO order <num> stored in <num> ms` came 41 times in its newest lines, usually 4."
    )
    assert [(line.text, line.count) for line in result.lines] == [(USUAL[0], 9)]


def test_bits_of_new_lines_are_no_count_of_the_template_that_came_with_them() -> None:
    suspicion = asked(Question.INSTANCE, USUAL[0], 61.25, 7.5, 50, "pod-7")
    result = told(["disk is failing", *usual(9)], None, suspicion, instances=["pod-7"] * 10)
    assert result.sentence.startswith("pod-7 is unlike the other instances: 1 of its 10 lines is new: `disk is failing`")
    calm = told(usual(10), [CHEAP] * 10, suspicion, reason=[0], instances=["pod-7"] * 10)
    assert calm.sentence == "pod-7 is unlike the other instances."


def test_an_interaction_of_which_nothing_more_is_known() -> None:
    result = told(usual(10), [CHEAP] * 10, Suspicion(Question.INTERACTION, "blk_17"), reason=[0])
    assert result.sentence == "blk_17 is unlike the other interactions."


# ---- all of it -------------------------------------------------------------------------------------------------------

NASTY = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [text.encode() for text in [*USUAL, "", " ", "`", "\n\n", '{"a": {"b": "x 1"}} k=v', "ERROR \x00 a=b"]]
        ),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    ),
    min_size=1,
    max_size=30,
)


def coded(lines: Sequence[bytes], past: Sequence[bytes]) -> tuple[list[Event], list[LineCost]]:
    """Events with what a coder that knows `past` says of them, as they come."""
    coder, events, costs = Coder(), [], []
    for at, line in enumerate([*past, *lines]):
        masked, lengths, slots, counts = mask_with_slots(line, array("I", [len(line)]), line_bytes_max=4096)
        found = coder.explain(masked, slots, context=0)
        [bits], _ = coder.code(masked, lengths, slots, counts, context=0, learn=True)
        if at >= len(past):
            events.append(Event(line, masked, at))
            costs.append(LineCost(bits / BIT, tuple(found.tokens) if found.new else (), tuple(enumerate(found.slots))))
    return events, costs


@given(NASTY, st.sampled_from(Question), st.integers(0, 3))
def test_any_window_is_explained_within_its_bounds(lines: list[bytes], question: Question, responsible: int) -> None:
    events, costs = coded(lines, [line.encode() for line in USUAL] * 3)
    suspicion = Suspicion(question, "pod", events[responsible % len(events)].masked, 9.0, 2.0, 50)

    def run() -> Explanation:
        return explain(
            events,
            7,
            KNOWN,
            costs,
            suspicion,
            lambda places: len(places) / 40,
            alpha=ALPHA,
            limits=Limits(),
            seed=3,
            memory_ns=DAY_NS,
        )

    result = run()
    assert result == run()
    assert result.sentence.endswith(".")
    assert len(result.lines) <= Limits().finding_lines_max
    if len(result.lines) > 1:
        assert sum(line.share for line in result.lines) <= 1.000001
    for line in result.lines:
        event = events[line.event - 7]
        assert line.text == event.text.decode("utf-8", "replace")
        assert len(line.spans) == len(line.span_paths)
        assert len(line.span_bits) in (0, len(line.spans))
        assert all(bits >= DEAR_BITS for bits in line.span_bits)
        assert all(0 <= start < stop <= len(line.text.encode()) for start, stop in line.spans)


def test_a_coders_bits_point_at_the_new_words_and_the_unusual_value() -> None:
    usual_lines = [f"INFO GET /api/items status 200 in {at % 9} ms".encode() for at in range(300)]
    new = b"INFO GET /api/items status 503 in 4 ms"
    other = b"ERROR upstream refused connection http.route=/api/items"
    events, costs = coded([*usual_lines[:48], new, other], usual_lines)
    known = Counter({mask_line(usual_lines[0]): 300})
    result = explain(
        events,
        0,
        known,
        costs,
        Suspicion(),
        lambda places: 0.6 if {48, 49} <= places else 0.004,
        alpha=ALPHA,
        limits=Limits(),
        seed=1,
        memory_ns=9 * DAY_NS,
        stream="shop",
    )
    by_event = {line.event: line for line in result.lines}
    assert parts(by_event[48]) == ["503"]
    assert "ERROR" in parts(by_event[49])
    assert "upstream refused connection" in parts(by_event[49])
    assert by_event[49].span_paths[0] == "severity"
    assert result.verified
    assert result.sentence == (
        "1 of 50 lines from shop is new: `ERROR upstream refused connection http.route=/api/items`, "
        "never seen in the last 9 days; usually `INFO GET /api/items status <num> in <num> ms`."
    )
