"""Versions of services in journal bodies."""

from array import array

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.records import Damaged, decode, encode
from driftlock.v1 import records_pb2


def batch_of(records: int, versions: tuple[str, ...] = (), index: tuple[int, ...] = ()) -> RecordBatch:
    return RecordBatch(
        b"x" * records,
        array("I", [1] * records),
        array("Q", [5] * records),
        versions=versions,
        version_index=array("I", index),
    )


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_versions_survive(index: list[int]) -> None:
    batch = batch_of(len(index), ("1.0", "2.0-é"), tuple(index))
    assert decode(encode(batch)) == batch
    one = batch_of(len(index), ("1.0",))
    assert decode(encode(one)) == one


def test_records_without_versions_have_the_bytes_that_they_always_had() -> None:
    body = zstandard.ZstdDecompressor().decompress(encode(batch_of(3)))
    message = records_pb2.RecordBatch.FromString(body)
    assert {field.number for field, _ in message.ListFields()} == {1, 2, 25, 26}


@pytest.mark.parametrize(
    ("versions", "index"),
    [(("1", "2"), ()), (("1",), (1,)), (("1",), (1, 2)), ((), (1, 1))],
    ids=["two without numbers", "too few numbers", "a number too large", "numbers without versions"],
)
def test_versions_that_do_not_fit_are_damage(versions: tuple[str, ...], index: tuple[int, ...]) -> None:
    with pytest.raises(Damaged, match="versions"):
        decode(encode(batch_of(2, versions, index)))
