"""Journal bodies."""

from array import array
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.codec import CODECS
from driftlock.engine.event import PointKind, RecordBatch
from driftlock.engine.profile import CUSTOM, OVERLAP_MAX, OVERRIDE_RANGES, PROFILES, WINDOW_DRAWS_MAX, Profile, level_range
from driftlock.engine.records import (
    Damaged,
    config_message,
    decode,
    decode_budget,
    decode_clock,
    decode_config,
    encode,
    encode_budget,
    encode_clock,
    encode_config,
    profile_of,
)
from driftlock.errors import Internal
from driftlock.v1 import records_pb2


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
        point_kinds=bytes([PointKind.HISTOGRAM_DELTA]) * len(rows),
        starts_ns=array("Q", (time_ns for _, time_ns, _ in rows)),
        counts=array("d", [3.0] * len(rows)),
        sums=array("d", [float("inf")] * len(rows)),
        shape_sizes=array("I", (index for _, _, index in rows)),
        shape_at=array("d", [0.25] * sum(index for _, _, index in rows)),
        shape=array("d", [2.0] * sum(index for _, _, index in rows)),
    )
    assert decode(encode(batch)) == batch
    assert encode(batch) == encode(batch)
    assert list(decode(encode(batch)).lines()) == [text for text, _, _ in rows]


def test_bodies_of_the_first_schema_are_read() -> None:
    batch = RecordBatch(b"abc", array("I", [1, 2]), array("Q", [5, 2**63]), series=("s",), values=array("d", [0.5, 7]))
    message = records_pb2.RecordBatch(
        schema=1,
        text=batch.text,
        length=batch.lengths,
        time_unix_nano=batch.times_ns,
        series=batch.series,
        value=batch.values,
    )
    assert decode(zstandard.compress(message.SerializeToString())) == batch


def test_a_column_that_ends_within_a_number_is_damage() -> None:
    message = records_pb2.RecordBatch(schema=2, text=b"a", length_column=b"\1\0\0\0", time_column=b"\0" * 7)
    with pytest.raises(Damaged, match="ends within a number"):
        decode(zstandard.compress(message.SerializeToString()))


@given(st.integers(0, 2**64 - 1))
def test_clocks_survive(now_ns: int) -> None:
    assert decode_clock(encode_clock(now_ns)) == now_ns


@pytest.mark.parametrize(
    "body", [b"", b"garbage", encode_clock(1)[:-3], encode(RecordBatch(b"ab", array("I", [3]), array("Q", [1])))]
)
def test_damage_is_named(body: bytes) -> None:
    with pytest.raises(Internal, match=r"damaged|schema"):
        decode(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"point_kinds": b"\x00"},
        {"point_kinds": b"\x00\x63"},
        {"values": array("d", [1.0])},
        {"series": ("a",), "series_index": array("I", [1, 2])},
        {"shape_sizes": array("I", [1, 0])},
        {"shape_sizes": array("I", [1, 0]), "shape_at": array("d", [1.0]), "shape": array("d")},
        {"starts_ns": array("Q", [1, 2, 3])},
    ],
)
def test_points_whose_columns_disagree_are_damaged(wrong: dict[str, Any]) -> None:
    body = encode(RecordBatch(b"ab", array("I", [1, 1]), array("Q", [1, 2]), **wrong))
    with pytest.raises(Damaged, match="metric points disagree"):
        decode(body)


def test_a_batch_is_not_a_clock() -> None:
    with pytest.raises(Internal):
        decode_clock(encode(RecordBatch()))


@given(st.floats(0, 1), st.floats(0, 1))
def test_thresholds_of_a_request_survive(ncd: float, p_value: float) -> None:
    batch = RecordBatch(b"a", array("I", [1]), array("Q", [0]), ncd_threshold=ncd, p_value_threshold=p_value)
    again = decode(encode(batch))
    assert (again.ncd_threshold, again.p_value_threshold) == (ncd, p_value)


def test_a_batch_without_thresholds_is_judged_with_the_streams_own() -> None:
    again = decode(encode(RecordBatch(b"a", array("I", [1]), array("Q", [0]))))
    assert (again.ncd_threshold, again.p_value_threshold) == (0.0, 0.0)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1], ids=["nan", "negative", "large"])
@pytest.mark.parametrize("name", ["ncd_threshold", "p_value_threshold"])
def test_thresholds_of_a_request_are_from_0_to_1(name: str, value: float) -> None:
    batch = RecordBatch()
    setattr(batch, name, value)
    with pytest.raises(Damaged, match="thresholds"):
        decode(encode(batch))


MASKS = ["order-{digits}", "{within}größe={word+.:2-}{as:SIZE}", r"\{{until:\}}\}"]


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    codec = draw(st.sampled_from(sorted(CODECS)))
    low, high = level_range(codec)
    window = draw(st.integers(20, 400))
    p_value = draw(st.floats(*OVERRIDE_RANGES["p_value_threshold"]))
    return Profile(
        draw(st.sampled_from([*PROFILES, CUSTOM])),
        draw(st.floats(*OVERRIDE_RANGES["ncd_threshold"])),
        p_value,
        draw(st.integers(window, 5000)),
        window,
        draw(st.integers(-(-window // OVERLAP_MAX), window)),
        codec,
        draw(st.integers(low, high) | st.just(0)),
        draw(st.integers(max(19, int(1 / p_value)), min(10_000, WINDOW_DRAWS_MAX // window))),
        masks=tuple(draw(st.lists(st.sampled_from(MASKS), unique=True))),
    )


@given(profiles())
def test_profiles_survive_with_every_value(profile: Profile) -> None:
    assert decode_config(encode_config(profile)) == profile
    assert encode_config(profile) == encode_config(profile)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        encode_config(PROFILES["strict"])[:-3],
        encode_clock(1),
        encode_config(replace(PROFILES["strict"], name="lenient")),
        encode_config(replace(PROFILES["strict"], ncd_threshold=float("nan"))),
        encode_config(replace(PROFILES["strict"], hop_size=101)),
        encode_config(replace(PROFILES["strict"], baseline_size=2**32 - 1)),
        encode_config(replace(PROFILES["strict"], codec="rar")),
        encode_config(replace(PROFILES["strict"], codec_level=-1000)),
        encode_config(replace(PROFILES["strict"], masks=("order-{digit}",))),
    ],
    ids=["empty", "garbage", "cut", "clock", "name", "nan", "hop", "baseline", "codec", "level", "mask"],
)
def test_a_profile_that_can_not_be_believed_is_damage(body: bytes) -> None:
    with pytest.raises(Damaged):
        decode_config(body)


def test_a_profile_is_not_a_clock() -> None:
    with pytest.raises(Damaged, match="clock"):
        decode_clock(encode_config(PROFILES["strict"]))


@given(st.integers(0, 1000))
def test_budgets_survive(alerts_per_day_max: int) -> None:
    assert decode_budget(encode_budget(alerts_per_day_max)) == alerts_per_day_max


@pytest.mark.parametrize("body", [b"", encode_clock(1), encode_budget(3)[:-2]], ids=["empty", "clock", "cut"])
def test_what_is_no_budget_is_named(body: bytes) -> None:
    with pytest.raises(Damaged, match=r"damaged|not an alert budget"):
        decode_budget(body)


def test_a_profile_of_a_version_without_budgets_has_the_default_one() -> None:
    message = config_message(PROFILES["strict"])
    message.ClearField("alerts_per_day_max")
    assert profile_of(message) == PROFILES["strict"]
    silent = replace(PROFILES["strict"], alerts_per_day_max=0, name=CUSTOM)
    assert profile_of(config_message(silent)) == silent
