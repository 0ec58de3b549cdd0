"""What streams tell the fold of their tenant where another shard has it, to the body of a derived row and back."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.correlation.state import (
    flag_from,
    flag_message,
    progress_from,
    progress_message,
    series_from,
    series_message,
)
from driftlock.engine.fold import Summary
from driftlock.engine.records import BODY_BYTES_MAX, Damaged, parse_stored
from driftlock.engine.state import pack
from driftlock.v1 import derived_pb2


@dataclass(frozen=True, slots=True)
class Derived:
    """What the fold of one stream emitted for one row of its shard, as far as it is for the tenant's fold.

    `progress` is None where it is the flag that the stream is silent, and nothing else.
    """

    stream_id: UUID
    progress: Progress | None
    flags: tuple[Flag, ...] = ()
    summaries: tuple[Summary, ...] = ()

    @property
    def bare(self) -> bool:
        """Whether all it says is how far the stream has come, which the next one says again."""
        return self.progress is not None and not self.flags and not self.summaries


def derived_bytes(entries: Iterable[Derived]) -> bytes:
    """The body of a derived row; equal entries give equal bytes."""
    return pack(derived_pb2.DerivedBatch(entry=[_message(entry) for entry in entries]))


def derived_from(body: bytes) -> list[Derived]:
    """What `derived_bytes` was given; raises `Damaged` when the bytes are damaged, `Internal` for a newer schema."""
    batch = parse_stored(derived_pb2.DerivedBatch(), body, "journal body", BODY_BYTES_MAX)
    try:
        return [_from(message) for message in batch.entry]
    except ValueError as error:
        raise Damaged("journal body is damaged: it is not what streams tell; restore the database from a backup") from error


def _message(entry: Derived) -> derived_pb2.DerivedEntry:
    return derived_pb2.DerivedEntry(
        stream_id=entry.stream_id.bytes,
        progress=None if entry.progress is None else progress_message(entry.stream_id, entry.progress, None),
        flag=[flag_message(flag) for flag in entry.flags],
        summary=[_summary_message(summary) for summary in entry.summaries],
    )


def _from(message: derived_pb2.DerivedEntry) -> Derived:
    progress = progress_from(message.progress) if message.HasField("progress") else None
    if progress is None and len(message.flag) != 1:
        raise ValueError("a silence is one flag")
    return Derived(
        stream_id=UUID(bytes=message.stream_id),
        progress=progress,
        flags=tuple(map(flag_from, message.flag)),
        summaries=tuple(map(_summary_from, message.summary)),
    )


def _summary_message(summary: Summary) -> derived_pb2.StreamSummary:
    return derived_pb2.StreamSummary(
        minute=summary.minute,
        window=summary.window,
        resource=summary.resource,
        points=summary.points,
        series=summary.series,
        odd=summary.odd,
        digits=summary.digits,
        strongest=[series_message(it) for it in summary.strongest],
    )


def _summary_from(message: derived_pb2.StreamSummary) -> Summary:
    return Summary(
        minute=message.minute,
        window=message.window,
        resource=message.resource,
        points=message.points,
        series=message.series,
        odd=message.odd,
        digits=message.digits,
        strongest=tuple(map(series_from, message.strongest)),
    )
