"""Submissions of all kinds, for whoever encodes them."""

from array import array
from uuid import UUID

from hypothesis import strategies as st

from driftlock.engine.event import PointKind, RecordBatch, Signal, StreamKey
from driftlock.engine.ports import StreamBatch, Submission

TENANT = UUID(int=7)
names = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=12)
u64 = st.integers(0, 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)


def column(draw: st.DrawFn, kind: str, count: int, values: "st.SearchStrategy[float]") -> "array[float]":
    """Empty, or one a record."""
    chosen = draw(st.booleans())
    return array(kind, draw(st.lists(values, min_size=count, max_size=count)) if chosen else ())


@st.composite
def batches(draw: st.DrawFn) -> RecordBatch:
    count = draw(st.integers(1, 8))
    lines = draw(st.lists(st.binary(max_size=20), min_size=count, max_size=count))
    known = tuple(draw(st.lists(names, max_size=3, unique=True)))
    spans = draw(st.booleans())
    sizes = column(draw, "I", count, st.integers(0, 3))
    entries = sum(int(size) for size in sizes)
    shapes = st.lists(finite, min_size=entries, max_size=entries)
    return RecordBatch(
        text=b"".join(lines),
        lengths=array("I", map(len, lines)),
        times_ns=array("Q", draw(st.lists(u64, min_size=count, max_size=count))),
        historical=draw(st.booleans()),
        instances=known,
        instance_index=column(draw, "I", count, st.integers(0, len(known))),
        trace_ids=draw(st.binary(min_size=16 * count, max_size=16 * count)) if spans else b"",
        span_ids=draw(st.binary(min_size=8 * count, max_size=8 * count)) if spans else b"",
        series=known,
        series_index=column(draw, "I", count, st.integers(0, len(known))),
        values=column(draw, "d", count, finite),
        point_kinds=bytes(draw(st.lists(st.sampled_from([*PointKind]), min_size=count, max_size=count))),
        starts_ns=column(draw, "Q", count, u64),
        shape_sizes=sizes,
        shape_at=array("d", draw(shapes)),
        shape=array("d", draw(shapes)),
        parent_ids=draw(st.binary(min_size=8 * count, max_size=8 * count)) if spans else b"",
        durations_ns=column(draw, "Q", count, u64),
        span_marks=bytes(count) if spans else b"",
        ncd_threshold=draw(st.sampled_from([0.0, 0.5])),
        versions=known,
        version_index=array("I", draw(st.lists(st.integers(0, len(known)), min_size=count, max_size=count))),
    )


@st.composite
def submissions(draw: st.DrawFn) -> Submission:
    signal = draw(st.sampled_from(Signal))
    keys = st.builds(StreamKey, st.just(signal), names, names | st.just(""), names | st.just(""))
    parts = st.lists(st.builds(StreamBatch, keys, batches()), min_size=1, max_size=3)
    return Submission(
        draw(st.uuids()),
        signal,
        draw(u64),
        tuple(draw(parts)),
        draw(st.none() | st.binary(min_size=16, max_size=16)),
        received=draw(st.integers(0, 2**31 - 1)),
        rejected=draw(st.integers(0, 2**31 - 1)),
    )


def logs(lines: list[bytes], service: str = "cart", request: bytes | None = b"r" * 16, tenant: UUID = TENANT) -> Submission:
    """A request with records of one stream of logs."""
    batch = RecordBatch(b"".join(lines), array("I", map(len, lines)), array("Q", range(1, len(lines) + 1)))
    return Submission(tenant, Signal.LOGS, 5, (StreamBatch(StreamKey(Signal.LOGS, service), batch),), request)
