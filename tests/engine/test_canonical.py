"""Canonical text: the bytes that every door agrees on."""

import doctest
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine import canonical
from driftlock.engine.canonical import (
    IDENTITY_BYTES_MAX,
    CanonicalLimits,
    Cuts,
    TooDeep,
    Value,
    bounded_identity,
    cut_utf8,
    label,
    log_text,
    scalar_text,
    scope_identity,
    series_identity,
    series_name,
    severity_name,
    shown_name,
    span_text,
    utf8,
)

LIMITS = CanonicalLimits()
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner), max_leaves=20
)


def text(body: Value, limits: CanonicalLimits = LIMITS, **fields: object) -> str:
    return log_text(body, limits=limits, cuts=Cuts(), **fields)  # type: ignore[arg-type]


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(canonical).attempted > 5
    assert doctest.testmod(canonical).failed == 0


@given(st.text())
def test_a_string_body_alone_is_exactly_itself(body: str) -> None:
    assert text(body) == body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        (2**63, "9223372036854775808"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e300, "1e+300"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (b"\x00\xff", "00ff"),
        ("a b", "a b"),
    ],
)
def test_scalars(value: Value, expected: str) -> None:
    assert scalar_text(value) == expected  # type: ignore[arg-type]
    assert text("x", attributes={"k": value}) == f"x k={expected}"


def test_containers_flatten_and_sort() -> None:
    attributes: dict[str, Value] = {"z": [1, [2, "b"], {"q": 1, "p": None}], "a": {"y": {"d": 1}, "c": True}, "e": {}, "f": []}
    assert text("m", attributes=attributes) == "m a.c=true a.y.d=1 e={} f=[] z=[1,[2,b],{p=,q=1}]"


def test_parts_stand_in_their_order() -> None:
    assert text("m", severity="WARN", event_name="login", attributes={"k": 1}) == "WARN login m k=1"
    assert text("", severity="WARN", attributes={"k": 1}) == "WARN k=1"
    assert text(None) == ""
    assert text({"msg": "hi", "n": {"m": 2}}) == "msg=hi n.m=2"


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=8), values, max_size=6), st.randoms())
def test_order_of_attributes_does_not_matter(attributes: dict[str, Value], shuffler: object) -> None:
    keys = list(attributes)
    shuffler.shuffle(keys)  # type: ignore[attr-defined]
    wide = CanonicalLimits(attributes_max=100_000, depth_max=64)
    assert text("m", wide, attributes=attributes) == text("m", wide, attributes={key: attributes[key] for key in keys})


def test_severity_names() -> None:
    assert [severity_name(number) for number in (1, 4, 5, 9, 13, 17, 21, 24, 25, -1)] == [
        *("TRACE", "TRACE4", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "FATAL4", "", "")
    ]


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}])
def test_depth_limit(wrap: object) -> None:
    value: Value = "x"
    for _ in range(15):
        value = wrap(value)  # type: ignore[operator]
    assert "x" in text(value)
    assert "x" in text("m", attributes={"a": value})
    deeper = wrap(value)  # type: ignore[operator]
    with pytest.raises(TooDeep):
        text(deeper)
    with pytest.raises(TooDeep):
        text("m", attributes={"a": deeper})


def test_body_limit_is_marked_and_counted() -> None:
    cuts = Cuts()
    limits = CanonicalLimits(body_bytes_max=5)
    assert log_text("äääx", limits=limits, cuts=cuts) == "ää _truncated=true"
    assert cuts.truncated == 1
    assert log_text("ääx", limits=limits, cuts=cuts) == "ääx"
    assert cuts.truncated == 1


def test_value_and_key_limits() -> None:
    cuts = Cuts()
    limits = CanonicalLimits(value_bytes_max=3, key_bytes_max=2)
    assert log_text("m", attributes={"abc": "wxyz"}, limits=limits, cuts=cuts) == "m _truncated=true ab=wxy"
    assert cuts.truncated == 2


def test_attribute_limit_counts_what_is_dropped() -> None:
    cuts = Cuts()
    attributes: dict[str, Value] = {f"k{number:03}": number for number in range(130)}
    line = log_text("m", attributes=attributes, limits=LIMITS, cuts=cuts)
    assert (line.count("="), cuts.attributes_dropped) == (128, 2)
    nested = log_text("m", attributes={"a": attributes}, limits=LIMITS, cuts=cuts)
    assert (nested.count("="), cuts.attributes_dropped) == (128, 4)


def test_a_huge_array_is_cut_like_any_value() -> None:
    cuts = Cuts()
    line = log_text("m", attributes={"a": [7] * 1_000_000}, limits=LIMITS, cuts=cuts)
    assert len(line) < LIMITS.value_bytes_max + 100
    assert cuts.truncated == 1


@given(st.text(), st.integers(1, 50))
def test_cut_is_the_longest_prefix_within_the_limit(whole: str, bytes_max: int) -> None:
    cuts = Cuts()
    cut = cut_utf8(whole, bytes_max, cuts)
    assert whole.startswith(cut)
    assert len(cut.encode()) <= bytes_max
    assert cuts.truncated == (cut != whole)
    if cut != whole:
        assert len(whole[: len(cut) + 1].encode()) > bytes_max


def test_lone_surrogates_become_replacement_characters() -> None:
    cuts = Cuts()
    assert utf8("a\ud800b\udfff", cuts) == "a�b�".encode()
    assert utf8("plain ä", cuts) == "plain ä".encode()
    assert cuts.replaced == 1


def test_spans_have_no_ids_times_or_durations() -> None:
    line = span_text(
        "CLIENT", "db", "ERROR boom", {"b": 1, "a": 2}, [("ex", {"t": "E"}), ("end", {})], limits=LIMITS, cuts=Cuts()
    )
    assert line == "CLIENT db ERROR boom a=2 b=1 event: ex t=E event: end"


def test_span_events_stop_at_the_limit_of_a_record() -> None:
    cuts = Cuts()
    limits = CanonicalLimits(body_bytes_max=100)
    line = span_text("", "s", "", {}, (("e" * 10, {}) for _ in range(1000)), limits=limits, cuts=cuts)
    assert len(line) < 200
    assert line.endswith(" _truncated=true")
    assert cuts.truncated == 1


def test_series_names_are_equal_for_equal_sets() -> None:
    assert series_name("m", {"b": 1, "a": "x"}, limits=LIMITS, cuts=Cuts()) == "m{a=x,b=1}"
    assert series_name("m", {}, limits=LIMITS, cuts=Cuts()) == "m"


@pytest.mark.parametrize(
    ("metric", "attributes", "name"),
    [
        ("m", {"a": "1,b=2"}, r"m{a=1\,b\=2}"),
        ("m", {"a": "1", "b": "2"}, "m{a=1,b=2}"),
        ("m", {'"q"': "\\"}, r"m{\"q\"=\\}"),
        ("m", {"a": [1, "x"]}, r"m{a=[1\,x]}"),
        ("m{a=1}", {}, r"m\{a=1\}"),
        ("java.lang:type=Memory,x", {}, "java.lang:type=Memory,x"),
        ("m\x1f", {"k\x1f": "\x1f"}, r"m\x1f{k\x1f=\x1f}"),
        ("m", {"a": r"\x1f"}, r"m{a=\\x1f}"),
    ],
)
def test_series_names_escape_what_would_be_read_otherwise(metric: str, attributes: dict[str, Value], name: str) -> None:
    assert series_name(metric, attributes, limits=LIMITS, cuts=Cuts()) == name


def identity(attributes: dict[str, Value], metric: str = "m", scope: str = "") -> str:
    return series_name(metric, attributes, limits=LIMITS, cuts=Cuts()) + series_identity(scope, attributes)


def typed(value: Value) -> object:
    """What an attribute says, with its types; Python holds that 1 == 1.0 == True."""
    if isinstance(value, dict):
        return sorted((key, repr(typed(inner))) for key, inner in value.items())
    if isinstance(value, list):
        return "list", [typed(inner) for inner in value]
    return type(value).__name__, repr(value)


# A map {"a": {"b": 1}} beside a key "a.b" may be read in two ways: keys here have no dots.
undotted = st.text(alphabet='ab1,={}"\\\x1f[]', max_size=3)
scalars_alike = (
    st.sampled_from([None, True, "true", 1, "1", 1.0, "1.0", b"\x01", "01", "", "1,1", "{}", "[]", "{a=1}"]) | undotted
)
alike = st.recursive(
    scalars_alike, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(undotted, inner, max_size=3), max_leaves=6
)


@settings(max_examples=400)
@given(st.dictionaries(undotted, alike, max_size=3), st.dictionaries(undotted, alike, max_size=3))
def test_attributes_that_differ_are_different_series(first: dict[str, Value], second: dict[str, Value]) -> None:
    assert (identity(first) == identity(second)) == (typed(first) == typed(second))
    assert identity(dict(reversed(first.items()))) == identity(first)
    assert shown_name(identity(first)) == series_name("m", first, limits=LIMITS, cuts=Cuts())


@given(st.text(max_size=80), st.text(max_size=80))
def test_scopes_that_differ_are_different_and_bounded(name: str, other: str) -> None:
    assert (scope_identity(name) == scope_identity(other)) == (name == other)
    assert len(scope_identity(name).encode()) <= IDENTITY_BYTES_MAX
    assert scope_identity("io.http") == "io.http"


def test_the_identity_of_a_series_is_bounded() -> None:
    deep: dict[str, Value] = {str(number): [number] * 20 for number in range(100)}
    metric = bounded_identity("s" * 30, "v" * 30, "g")
    assert metric == f"{'s' * 30}\x1f{'v' * 30}\x1fg"
    assert len(series_identity(metric, deep)) <= IDENTITY_BYTES_MAX + 1
    assert len(series_identity(metric, {"a": 1})) <= IDENTITY_BYTES_MAX + 1
    assert series_identity(metric, {"a": 1}) != series_identity(metric, {"a": 1.0})
    assert len(bounded_identity("é" * 33)) == 33  # 66 bytes: hashed
    assert bounded_identity("é" * 32) == "é" * 32


@given(st.text(max_size=600))
def test_labels_are_printable_bounded_and_stable(name: str) -> None:
    result = label(name)
    assert len(result.encode()) <= 256
    assert label(result) == result
    assert not any(char in result for char in "\x00\n\r\t\u202e\u2066\u200b\u2028")


def test_labels() -> None:
    assert label("cafe\u0301") == "café"
    assert label("\u202eevil\r\n") == "evil"
    assert label("../../x") == "../../x"
    assert label("🦊") == "🦊"
    assert label(" \t\n") == ""
    assert label("\ud800") == ""


def test_long_labels_stay_different() -> None:
    first, second = label("x" * 1_000_000 + "a"), label("x" * 1_000_000 + "b")
    assert first != second
    assert len(first) == len(second) == 256
    assert label("x" * 300 + "a") != label("x" * 300 + "b")


@pytest.mark.parametrize("name", ["body_bytes_max", "value_bytes_max", "key_bytes_max", "attributes_max", "depth_max"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        CanonicalLimits(**{name: 0})


def test_depth_has_a_ceiling() -> None:
    with pytest.raises(ValueError, match="depth_max"):
        CanonicalLimits(depth_max=65)
