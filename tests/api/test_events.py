import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events import decode
from api.problems import BadMembers
from driftlock.engine.canonical import CanonicalLimits

LIMITS = CanonicalLimits()
SECOND = 1_000_000_000
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
objects = st.dictionaries(st.text().filter(lambda name: name not in ("time", "text")), scalars, max_size=5)


def lines(*events: object) -> list[bytes]:
    return list(decode(events, historical=False, limits=LIMITS).batch.lines())


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), max_size=20))
def test_a_text_event_is_exactly_its_text(texts: list[str]) -> None:
    assert lines(*texts) == [text.encode() for text in texts]
    assert lines(*({"text": text} for text in texts)) == [text.encode() for text in texts]


@given(st.lists(st.text() | objects | st.builds(lambda rest, text: rest | {"text": text}, objects, st.text()), max_size=20))
def test_every_event_becomes_one_record(events: list[object]) -> None:
    batch = decode(events, historical=True, limits=LIMITS).batch
    assert len(batch) == len(batch.times_ns) == len(events)
    assert sum(batch.lengths) == len(batch.text)
    assert batch.historical
    batch.text.decode()


def test_other_members_are_attributes_and_an_object_without_text_is_a_map() -> None:
    assert lines({"text": "disk full", "b": 1, "a": {"x": True}}) == [b"disk full a.x=true b=1"]
    assert lines({"b": [1, "z"], "a": None, "time": 5}) == [b"a= b=[1,z]"]
    assert lines({}, "") == [b"", b""]


def test_times_are_unix_seconds_or_rfc3339_and_may_be_missing() -> None:
    events = [{"time": 1.5}, {"time": "1970-01-01T00:00:02Z"}, {"time": None}, "text", {"time": 0}]
    assert list(decode(events, historical=False, limits=LIMITS).batch.times_ns) == [1_500_000_000, 2 * SECOND, 0, 0, 0]


def test_the_largest_time_fits_and_the_next_does_not() -> None:
    largest = "2554-07-21T23:34:33.709551615Z"
    assert list(decode([{"time": largest}], historical=False, limits=LIMITS).batch.times_ns) == [2**64 - 1]
    with pytest.raises(BadMembers):
        decode([{"time": "2554-07-21T23:34:33.709551616Z"}], historical=False, limits=LIMITS)


def test_an_attribute_nested_too_deep_is_pointed_at() -> None:
    value: object = 1
    for _ in range(20):
        value = {"a": value}
    with pytest.raises(BadMembers) as caught:
        decode(["fine", {"text": "x", "deep": value}], historical=False, limits=LIMITS)
    assert caught.value.members[0].pointer == "/events/1"
