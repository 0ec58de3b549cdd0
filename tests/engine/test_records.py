"""Journal bodies."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.records import decode, decode_clock, encode, encode_clock
from driftlock.errors import Internal


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2**64 - 1), st.integers(0, 2)), max_size=30), st.booleans())
def test_batches_survive(rows: list[tuple[bytes, int, int]], historical: bool) -> None:
    batch = RecordBatch(
        text=b"".join(text for text, _, _ in rows),
        lengths=array("I", (len(text) for text, _, _ in rows)),
        times_ns=array("Q", (time_ns for _, time_ns, _ in rows)),
        historical=historical,
        instances=("pod-a", "pod-b"),
        instance_index=array("I", (index for _, _, index in rows)),
        trace_ids=b"t" * 16 * len(rows),
        span_ids=b"s" * 8 * len(rows),
        series=("cpu{}",),
        series_index=array("I", [1] * len(rows)),
        values=array("d", [0.5] * len(rows)),
    )
    assert decode(encode(batch)) == batch
    assert encode(batch) == encode(batch)
    assert list(decode(encode(batch)).lines()) == [text for text, _, _ in rows]


@given(st.integers(0, 2**64 - 1))
def test_clocks_survive(now_ns: int) -> None:
    assert decode_clock(encode_clock(now_ns)) == now_ns


@pytest.mark.parametrize(
    "body", [b"", b"garbage", encode_clock(1)[:-3], encode(RecordBatch(b"ab", array("I", [3]), array("Q", [1])))]
)
def test_damage_is_named(body: bytes) -> None:
    with pytest.raises(Internal, match=r"damaged|schema"):
        decode(body)


def test_a_batch_is_not_a_clock() -> None:
    with pytest.raises(Internal):
        decode_clock(encode(RecordBatch()))
