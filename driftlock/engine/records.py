"""Journal bodies: record batches and control records to and from bytes (schema `driftlock.v1`, zstd frames).

Columns are packed protobuf fields, so a batch of a thousand records is encoded and decoded in a handful of C calls.
The bytes are read back by later versions: fields are only ever added, and a body of a newer schema is refused.
"""

import sys
from array import array
from dataclasses import asdict, replace
from typing import TypeVar

import zstandard

from driftlock.engine.event import PointKind, RecordBatch
from driftlock.engine.profile import CUSTOM, DEFAULT_PROFILE, PROFILES, BadOverride, Profile, custom
from driftlock.errors import Internal
from driftlock.v1 import numbers_pb2, records_pb2, state_pb2, traces_pb2

SCHEMA = 1
BODY_LEVEL = 1
BODY_BYTES_MAX = 256 * 1024 * 1024

Message = TypeVar(
    "Message",
    records_pb2.RecordBatch,
    records_pb2.Control,
    state_pb2.StreamState,
    state_pb2.TenantState,
    numbers_pb2.NumberState,
    numbers_pb2.SeriesState,
    traces_pb2.TraceState,
)


class Damaged(Internal):
    """Stored bytes that can not be read. What they held is lost; what comes after them is not."""


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("driftlock needs a little-endian machine: packed columns are read in place")


def encode(batch: RecordBatch) -> bytes:
    """One journal body. Equal batches give equal bytes for one version of zstandard."""
    message = records_pb2.RecordBatch(
        schema=SCHEMA,
        text=batch.text,
        length=batch.lengths,
        time_unix_nano=batch.times_ns,
        historical=batch.historical,
        instance=batch.instances,
        instance_index=batch.instance_index,
        trace_id=batch.trace_ids,
        span_id=batch.span_ids,
        series=batch.series,
        series_index=batch.series_index,
        value=batch.values,
        point_kind=batch.point_kinds,
        start_unix_nano=batch.starts_ns,
        count=batch.counts,
        sum=batch.sums,
        shape_size=batch.shape_sizes,
        shape_at=batch.shape_at,
        shape=batch.shape,
        parent_id=batch.parent_ids,
        duration_nano=batch.durations_ns,
        span_mark=batch.span_marks,
        ncd_threshold=batch.ncd_threshold,
        p_value_threshold=batch.p_value_threshold,
    )
    return zstandard.ZstdCompressor(level=BODY_LEVEL).compress(message.SerializeToString(deterministic=True))


def decode(body: bytes) -> RecordBatch:
    """The batch of one journal body; raises `Damaged`, or `Internal` when the body is of a newer schema."""
    message = parse_stored(records_pb2.RecordBatch(), body, "journal body", BODY_BYTES_MAX)
    lengths = array("I", message.length)
    if sum(lengths) != len(message.text) or len(message.time_unix_nano) != len(lengths):
        raise Damaged("journal body is damaged: its columns disagree; restore the database from a backup")
    if not (0 <= message.ncd_threshold <= 1 and 0 <= message.p_value_threshold <= 1):
        raise Damaged("journal body is damaged: its thresholds are not from 0 to 1; restore the database from a backup")
    _check_points(message)
    _check_spans(message)
    return RecordBatch(
        text=message.text,
        lengths=lengths,
        times_ns=array("Q", message.time_unix_nano),
        historical=message.historical,
        instances=tuple(message.instance),
        instance_index=array("I", message.instance_index),
        trace_ids=message.trace_id,
        span_ids=message.span_id,
        series=tuple(message.series),
        series_index=array("I", message.series_index),
        values=array("d", message.value),
        point_kinds=message.point_kind,
        starts_ns=array("Q", message.start_unix_nano),
        counts=array("d", message.count),
        sums=array("d", message.sum),
        shape_sizes=array("I", message.shape_size),
        shape_at=array("d", message.shape_at),
        shape=array("d", message.shape),
        parent_ids=message.parent_id,
        durations_ns=array("Q", message.duration_nano),
        span_marks=message.span_mark,
        ncd_threshold=message.ncd_threshold,
        p_value_threshold=message.p_value_threshold,
    )


def _check_points(message: records_pb2.RecordBatch) -> None:
    """Columns of metric points are empty or whole, for kernels read them by the number of records."""
    records, entries = len(message.length), sum(message.shape_size)
    columns = (
        message.series_index,
        message.value,
        message.point_kind,
        message.start_unix_nano,
        message.count,
        message.sum,
        message.shape_size,
    )
    whole = all(len(column) in {0, records} for column in columns)
    shaped = len(message.shape_at) == len(message.shape) == entries
    known = max(message.series_index, default=0) <= len(message.series)
    if not (whole and shaped and known and max(message.point_kind, default=0) <= max(PointKind)):
        raise Damaged("journal body is damaged: its metric points disagree; restore the database from a backup")


def _check_spans(message: records_pb2.RecordBatch) -> None:
    """So are columns of spans, and the ids that they are put together by."""
    records = len(message.length)
    whole = all(
        len(column) in {0, size * records}
        for column, size in ((message.parent_id, 8), (message.duration_nano, 1), (message.span_mark, 1))
    )
    named = not message.span_mark or (len(message.trace_id), len(message.span_id)) == (16 * records, 8 * records)
    if not (whole and named):
        raise Damaged("journal body is damaged: its spans disagree; restore the database from a backup")


def encode_clock(now_ns: int) -> bytes:
    """A control record that says what the wall clock was, in ns since 1970."""
    return _pack_control(records_pb2.Control(schema=SCHEMA, clock=records_pb2.Clock(now_unix_nano=now_ns)))


def decode_clock(body: bytes) -> int:
    """The wall clock of a clock record, in ns since 1970; raises `Damaged`, or `Internal` for a newer schema."""
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "clock":
        raise Damaged("journal body is not a clock record; restore the database from a backup")
    return message.clock.now_unix_nano


def encode_config(profile: Profile) -> bytes:
    """A control record that says how a stream is judged from here on. It carries every value, not only the name."""
    return _pack_control(records_pb2.Control(schema=SCHEMA, profile=config_message(profile)))


def config_message(profile: Profile) -> records_pb2.StreamConfig:
    """Every value of a profile."""
    values = asdict(profile)
    return records_pb2.StreamConfig(mask=values.pop("masks"), **values)


def decode_config(body: bytes) -> Profile:
    """The profile of a configuration record; equal to the one that was encoded.

    A built-in name may come with other values than it has now: those of the version that wrote it. Raises `Damaged` when
    the body can not be read or holds values that no profile may have, `Internal` when it is of a newer schema.
    """
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "profile":
        raise Damaged("journal body is not a stream's configuration; restore the database from a backup")
    return profile_of(message.profile)


def profile_of(message: records_pb2.StreamConfig) -> Profile:
    """The profile that `config_message` was given; raises `Damaged` for values that no profile may have."""
    # A member that the version which wrote it did not have yet is the default profile's.
    present = {field.name for field, _ in message.ListFields()}
    written = [field.name for field in message.DESCRIPTOR.fields if not field.has_presence or field.name in present]
    values = {name: getattr(message, name) for name in written}
    values["masks"] = tuple(values.pop("mask"))
    name = values.pop("name")
    if name not in (*PROFILES, CUSTOM):
        raise Damaged("a stored profile has an unknown name; restore the database from a backup")
    try:
        return replace(custom(PROFILES[DEFAULT_PROFILE], values), name=name)
    except BadOverride as error:
        raise Damaged(f"a stored profile is not allowed: {error}; restore the database from a backup") from error


def encode_budget(alerts_per_day_max: int) -> bytes:
    """A control record that says how many alerts a tenant may have in any 24 hours from here on."""
    budget = records_pb2.TenantBudget(alerts_per_day_max=alerts_per_day_max)
    return _pack_control(records_pb2.Control(schema=SCHEMA, budget=budget))


def decode_budget(body: bytes) -> int:
    """The alerts in any 24 hours of a budget record; raises `Damaged`, or `Internal` for a newer schema."""
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "budget":
        raise Damaged("journal body is not an alert budget; restore the database from a backup")
    return message.budget.alerts_per_day_max


def _pack_control(message: records_pb2.Control) -> bytes:
    return zstandard.ZstdCompressor(level=BODY_LEVEL).compress(message.SerializeToString(deterministic=True))


def parse_stored(message: Message, stored: bytes, what: str, bytes_max: int) -> Message:
    """Read a compressed message of ours; raises `Damaged` when it can not be read, `Internal` when its schema is newer."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(stored) as reader:
            raw = reader.read(bytes_max + 1)
        if not 0 < len(raw) <= bytes_max:
            raise ValueError("empty or too large")
        message.ParseFromString(raw)
    except Exception as error:  # zstandard and protobuf raise unrelated types for damaged bytes
        raise Damaged(f"{what} is damaged: it can not be parsed") from error
    if message.schema != SCHEMA:
        raise Internal(f"{what} has schema {message.schema}, this version reads {SCHEMA}: upgrade driftlock")
    return message
