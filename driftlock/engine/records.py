"""Journal bodies: record batches and control records to and from bytes (schema `driftlock.v1`, zstd frames).

Columns are the bytes of their numbers, so a batch of a thousand records is encoded and decoded in a handful of copies.
The bytes are read back by later versions: fields are only ever added, and a body of a newer schema is refused.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence, Sized
from dataclasses import asdict, replace
from typing import Any, TypeVar

import zstandard

from driftlock.engine.anchor import AnchorChange
from driftlock.engine.anchor_state import anchor_message, anchor_of_message
from driftlock.engine.era import Change, Era
from driftlock.engine.event import PointKind, RecordBatch
from driftlock.engine.lesson_record import change_from, change_message
from driftlock.engine.lessons import LessonChange
from driftlock.engine.profile import CUSTOM, DEFAULT_PROFILE, PROFILES, BadOverride, Profile, custom
from driftlock.engine.redaction import Rule
from driftlock.errors import Internal
from driftlock.v1 import derived_pb2, numbers_pb2, records_pb2, state_pb2, traces_pb2

SCHEMA = 1
BATCH_SCHEMA = 2
"""That of record batches; those of schema 1 are read too."""
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
    derived_pb2.DerivedBatch,
)


class Damaged(Internal):
    """Stored bytes that can not be read. What they held is lost; what comes after them is not."""


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("driftlock needs a little-endian machine: packed columns are read in place")


def encode(batch: RecordBatch, compressor: zstandard.ZstdCompressor | None = None) -> bytes:
    """One journal body. Equal batches give equal bytes for one version of zstandard.

    `compressor` is one of `body_compressor`, which is not in use elsewhere: to make one costs more than a small body.
    """
    message = records_pb2.RecordBatch(
        schema=BATCH_SCHEMA,
        text=batch.text,
        historical=batch.historical,
        instance=batch.instances,
        trace_id=batch.trace_ids,
        span_id=batch.span_ids,
        series=batch.series,
        point_kind=batch.point_kinds,
        parent_id=batch.parent_ids,
        span_mark=batch.span_marks,
        ncd_threshold=batch.ncd_threshold,
        p_value_threshold=batch.p_value_threshold,
        length_column=batch.lengths.tobytes(),
        time_column=batch.times_ns.tobytes(),
        instance_column=batch.instance_index.tobytes(),
        series_column=batch.series_index.tobytes(),
        value_column=batch.values.tobytes(),
        start_column=batch.starts_ns.tobytes(),
        count_column=batch.counts.tobytes(),
        sum_column=batch.sums.tobytes(),
        shape_size_column=batch.shape_sizes.tobytes(),
        shape_at_column=batch.shape_at.tobytes(),
        shape_column=batch.shape.tobytes(),
        duration_column=batch.durations_ns.tobytes(),
        version=batch.versions,
        version_column=batch.version_index.tobytes(),
    )
    return (compressor or body_compressor()).compress(message.SerializeToString(deterministic=True))


def body_compressor() -> zstandard.ZstdCompressor:
    """What compresses bodies, one after another."""
    return zstandard.ZstdCompressor(level=BODY_LEVEL)


def decode(body: bytes) -> RecordBatch:
    """The batch of one journal body; raises `Damaged`, or `Internal` when the body is of a newer schema."""
    message = parse_stored(records_pb2.RecordBatch(), body, "journal body", BODY_BYTES_MAX, BATCH_SCHEMA)
    if not (0 <= message.ncd_threshold <= 1 and 0 <= message.p_value_threshold <= 1):
        raise Damaged("journal body is damaged: its thresholds are not from 0 to 1; restore the database from a backup")
    batch = RecordBatch(
        text=message.text,
        lengths=_column("I", message.length_column, message.length),
        times_ns=_column("Q", message.time_column, message.time_unix_nano),
        historical=message.historical,
        instances=tuple(message.instance),
        instance_index=_column("I", message.instance_column, message.instance_index),
        trace_ids=message.trace_id,
        span_ids=message.span_id,
        series=tuple(message.series),
        series_index=_column("I", message.series_column, message.series_index),
        values=_column("d", message.value_column, message.value),
        point_kinds=message.point_kind,
        starts_ns=_column("Q", message.start_column, message.start_unix_nano),
        counts=_column("d", message.count_column, message.count),
        sums=_column("d", message.sum_column, message.sum),
        shape_sizes=_column("I", message.shape_size_column, message.shape_size),
        shape_at=_column("d", message.shape_at_column, message.shape_at),
        shape=_column("d", message.shape_column, message.shape),
        parent_ids=message.parent_id,
        durations_ns=_column("Q", message.duration_column, message.duration_nano),
        span_marks=message.span_mark,
        ncd_threshold=message.ncd_threshold,
        p_value_threshold=message.p_value_threshold,
        versions=tuple(message.version),
        version_index=_column("I", message.version_column, ()),
    )
    if sum(batch.lengths) != len(batch.text) or len(batch.times_ns) != len(batch.lengths):
        raise Damaged("journal body is damaged: its columns disagree; restore the database from a backup")
    _check_points(batch)
    _check_spans(batch)
    _check_versions(batch)
    return batch


def raw_bytes(body: bytes) -> int:
    """What a body is when it is not compressed, as it says itself; 0 for one that can not be read."""
    try:
        return max(0, zstandard.frame_content_size(body))
    except zstandard.ZstdError:
        return 0


def _column(kind: str, raw: bytes, packed: Iterable[float]) -> "array[Any]":
    """Numbers of schema 2, or those of schema 1, of which one at most is there."""
    if not raw:
        return array(kind, packed)
    column = array(kind)
    try:
        column.frombytes(raw)
    except ValueError:
        raise Damaged("journal body is damaged: a column ends within a number; restore the database from a backup") from None
    return column


def _check_points(batch: RecordBatch) -> None:
    """Columns of metric points are empty or whole, for kernels read them by the number of records."""
    records, entries = len(batch.lengths), sum(batch.shape_sizes)
    columns: tuple[Sized, ...] = (
        batch.series_index,
        batch.values,
        batch.point_kinds,
        batch.starts_ns,
        batch.counts,
        batch.sums,
        batch.shape_sizes,
    )
    whole = all(len(column) in {0, records} for column in columns)
    shaped = len(batch.shape_at) == len(batch.shape) == entries
    known = max(batch.series_index, default=0) <= len(batch.series)
    if not (whole and shaped and known and max(batch.point_kinds, default=0) <= max(PointKind)):
        raise Damaged("journal body is damaged: its metric points disagree; restore the database from a backup")


def _check_spans(batch: RecordBatch) -> None:
    """So are columns of spans, and the ids that they are put together by."""
    records = len(batch.lengths)
    columns: tuple[tuple[Sized, int], ...] = ((batch.parent_ids, 8), (batch.durations_ns, 1), (batch.span_marks, 1))
    whole = all(len(column) in {0, size * records} for column, size in columns)
    named = not batch.span_marks or (len(batch.trace_ids), len(batch.span_ids)) == (16 * records, 8 * records)
    if not (whole and named):
        raise Damaged("journal body is damaged: its spans disagree; restore the database from a backup")


def _check_versions(batch: RecordBatch) -> None:
    """Versions are told by number, or there is one at most."""
    index = batch.version_index
    told = len(index) == len(batch.lengths) if index else len(batch.versions) <= 1
    if not told or max(index, default=0) > len(batch.versions):
        raise Damaged("journal body is damaged: its versions disagree; restore the database from a backup")


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


def encode_era(era: Era) -> bytes:
    """A control record that says what judges from `era.since_seq` on."""
    made = [records_pb2.VersionChange(name=it.name, old=it.old, new=it.new) for it in era.changes]
    message = records_pb2.Era(since_seq=era.since_seq, change=made, database=era.database)
    return _pack_control(records_pb2.Control(schema=SCHEMA, era=message))


def decode_era(body: bytes) -> Era:
    """The era of an era record; raises `Damaged`, or `Internal` for a newer schema."""
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "era":
        raise Damaged("journal body is not an era; restore the database from a backup")
    era = message.era
    return Era(era.since_seq, tuple(Change(it.name, it.old, it.new) for it in era.change), era.database)


def encode_lesson(change: LessonChange) -> bytes:
    """A control record that says what a person has taught a stream, or has withdrawn."""
    return _pack_control(records_pb2.Control(schema=SCHEMA, lesson=change_message(change)))


def decode_lesson(body: bytes) -> LessonChange:
    """The change of a lesson record; raises `Damaged`, or `Internal` for a newer schema."""
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "lesson":
        raise Damaged("journal body is not a lesson; restore the database from a backup")
    try:
        return change_from(message.lesson)
    except ValueError as error:
        raise Damaged(f"journal body is no lesson that can be: {error}; restore the database from a backup") from error


def encode_anchor(change: AnchorChange) -> bytes:
    """A control record that says what becomes of a stream's anchor from here on."""
    return _pack_control(records_pb2.Control(schema=SCHEMA, anchor=anchor_message(change)))


def decode_anchor(body: bytes) -> AnchorChange:
    """What an anchor record says; raises `Damaged`, or `Internal` for a newer schema."""
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "anchor":
        raise Damaged("journal body is not about an anchor; restore the database from a backup")
    try:
        return anchor_of_message(message.anchor)
    except ValueError as error:
        raise Damaged(f"journal body is damaged: {error}; restore the database from a backup") from None


def encode_redaction(rules: Sequence[Rule]) -> bytes:
    """A control record that says which redaction rules hold from here on: all of a stream's, or of a tenant's."""
    made = [records_pb2.RedactionRule(**asdict(rule)) for rule in rules]
    return _pack_control(records_pb2.Control(schema=SCHEMA, redaction=records_pb2.Redaction(rule=made)))


def decode_redaction(body: bytes) -> tuple[Rule, ...]:
    """The rules of a redaction record; raises `Damaged`, or `Internal` for a newer schema."""
    message = parse_stored(records_pb2.Control(), body, "journal body", BODY_BYTES_MAX)
    if message.WhichOneof("fact") != "redaction":
        raise Damaged("journal body is no redaction record; restore the database from a backup")
    return tuple(Rule(it.name, it.where, it.kind, it.mask, it.action) for it in message.redaction.rule)


def _pack_control(message: records_pb2.Control) -> bytes:
    return body_compressor().compress(message.SerializeToString(deterministic=True))


def parse_stored(message: Message, stored: bytes, what: str, bytes_max: int, schema_max: int = SCHEMA) -> Message:
    """Read a compressed message of ours; raises `Damaged` when it can not be read, `Internal` when its schema is newer."""
    try:
        if not 0 < zstandard.frame_content_size(stored) <= bytes_max:  # what a frame declares is also what it is held to
            raise ValueError("empty, too large or of unknown size")
        message.ParseFromString(zstandard.ZstdDecompressor().decompress(stored))
    except Exception as error:  # zstandard and protobuf raise unrelated types for damaged bytes
        raise Damaged(f"{what} is damaged: it can not be parsed") from error
    if not 1 <= message.schema <= schema_max:
        raise Internal(f"{what} has schema {message.schema}, this version reads up to {schema_max}: upgrade driftlock")
    return message
