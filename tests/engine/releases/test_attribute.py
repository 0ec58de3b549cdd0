"""Values of attributes, from columns and from texts."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.releases.attribute import VALUE_BYTES_MAX, Attribute


def batch_of(*lines: bytes, versions: tuple[str, ...] = (), index: tuple[int, ...] = ()) -> RecordBatch:
    return RecordBatch(
        b"".join(lines),
        array("I", map(len, lines)),
        array("Q", range(1, len(lines) + 1)),
        versions=versions,
        version_index=array("I", index),
    )


@pytest.mark.parametrize(
    ("line", "value", "rest"),
    [
        (b"INFO up region=eu zone=b", b"eu", b"INFO up zone=b"),
        (b"INFO up region=eu", b"eu", b"INFO up"),
        (b"region=eu zone=b", b"eu", b"zone=b"),
        (b"region=eu", b"eu", b""),
        (b"moved from region=us to region=eu", b"eu", b"moved from region=us to"),
        (b"INFO up subregion=eu", b"", b"INFO up subregion=eu"),
        (b"INFO up", b"", b"INFO up"),
        (b"trace region=eu\n  at x", b"eu", b"trace\n  at x"),
        (b"INFO region= zone=b", b"", b"INFO zone=b"),
        (b"a region=" + b"x" * (VALUE_BYTES_MAX + 1), b"", b"a"),
    ],
)
def test_the_value_in_a_line_and_the_line_without(line: bytes, value: bytes, rest: bytes) -> None:
    assert Attribute("region").split(line) == (value, rest)


@given(st.lists(st.binary(max_size=30), max_size=8), st.sampled_from([b"a", b"b"]))
def test_what_is_put_behind_a_line_is_found_there(parts: list[bytes], value: bytes) -> None:
    line = b"x" + b" ".join(parts)
    assert Attribute("region").split(line + b" region=" + value) == (value, line)


def test_versions_come_from_their_column() -> None:
    version = Attribute("service.version")
    one = batch_of(b"a", b"b", versions=("1.0",))
    assert list(version.of(one)) == [(b"1.0", b"a"), (b"1.0", b"b")]
    assert version.counts(one) == {b"1.0": 2}
    two = batch_of(b"a", b"b", b"c", versions=("1.0", "2.0"), index=(2, 0, 1))
    assert list(version.of(two)) == [(b"2.0", b"a"), (b"", b"b"), (b"1.0", b"c")]
    assert version.counts(two) == {b"2.0": 1, b"": 1, b"1.0": 1}
    told = batch_of(b"a service.version=3.0")
    assert list(version.of(told)) == [(b"3.0", b"a")]


@pytest.mark.parametrize(
    ("batch", "may"),
    [
        (batch_of(b"a", versions=("1.0",)), True),
        (batch_of(b"a", versions=("2.0",)), False),
        (batch_of(b"a service.version=1.0"), True),
        (batch_of(b"a service.version=7"), False),
        (batch_of(b"a"), False),
    ],
    ids=["column", "other", "text", "other text", "none"],
)
def test_batches_without_the_values_are_passed(batch: RecordBatch, may: bool) -> None:
    assert Attribute("service.version").may_hold(batch, (b"1.0", b"1.1")) is may
