"""One series of a metrics stream as bytes: its newest point, and the pasts of what is derived from it."""

import zstandard

from cbad_cy.points import Points
from cbad_cy.pooled import Gatherer
from cbad_cy.series import SeriesTable
from driftlock.engine.records import SCHEMA, Damaged, parse_stored
from driftlock.v1 import numbers_pb2

BODY_LEVEL = 3
BODY_BYTES_MAX = 1024 * 1024


def pack_series(number: int, points: Points, table: SeriesTable, gatherer: Gatherer) -> bytes:
    """All that is known of the series in memory; equal pasts give equal bytes for one version of zstandard."""
    derived = sorted(own for own in points.derived(number) if own in table)
    message = numbers_pb2.SeriesState(
        schema=SCHEMA,
        points=points.parts(number),
        derived=derived,
        past=[table.parts(own) for own in derived],
        level=[gatherer.parts(own) for own in derived],
    )
    return zstandard.ZstdCompressor(level=BODY_LEVEL, write_checksum=True).compress(
        message.SerializeToString(deterministic=True)
    )


def unpack_series(body: bytes, number: int, points: Points, table: SeriesTable, gatherer: Gatherer) -> None:
    """Take the series back into memory; raises `Damaged` when its bytes can not be read: then it may be there in part."""
    message = numbers_pb2.SeriesState()
    parse_stored(message, body, f"series {number}", BODY_BYTES_MAX)
    try:
        points.restore(number, message.points)
        if not set(message.derived) <= set(points.derived(number)):
            raise ValueError("it speaks of other series")
        for own, past, level in zip(message.derived, message.past, message.level, strict=True):
            table.restore(own, past)
            gatherer.restore(own, level)
    except ValueError as error:
        raise Damaged(f"series {number} is damaged: {error}") from error
