"""Data points as wire bytes, in few words, and how they are read."""

import math
import struct
from array import array
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from collector.otlp.limits import OtlpLimits
from collector.otlp.pointwire import PointColumns, PointsRead, read_metrics, read_points
from collector.otlp.sanitize import encode_varint
from tests.collector.otlp_requests import message
from tests.collector.points_both_ways import Told, assert_same

GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 5, 7, 9, 10, 11
LIMITS = OtlpLimits()
NAME = message(1, b"x")
INF = math.inf
GROUP = b"\x7b\x08\x01\x7c"  # a group in field 15 with a varint
STALE_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF0_0000_0000_0002))[0]


def metric(data: int, *points: bytes, fields: bytes = b"") -> bytes:
    """Wire bytes of a metric of one kind of data."""
    return NAME + message(data, b"".join(message(1, point) for point in points) + fields)


def request(*metrics: bytes, scope: bytes = b"") -> bytes:
    return message(1, message(2, scope + b"".join(message(2, each) for each in metrics)))


def fixed(number: int, value: float) -> bytes:
    """A field of 8 bytes: an integer, or a double."""
    return bytes([number << 3 | 1]) + (struct.pack("<d", value) if isinstance(value, float) else struct.pack("<q", value))


def number(value: int, field: int) -> bytes:
    """A varint field."""
    return bytes([field << 3]) + encode_varint(value)


def read(data: bytes, limits: OtlpLimits = LIMITS) -> PointsRead:
    envelope = read_metrics(data, records_max=limits.records_max, containers_max=limits.containers_max, limits=limits)
    count = len(envelope.resources)
    return read_points(data, envelope, array("i", [0] * count), array("I", [3] * count), 1, limits)


def columns(data: bytes, limits: OtlpLimits = LIMITS) -> PointColumns:
    (found,) = read(data, limits).columns
    return found


def one(data: int, point: bytes, **limits: Any) -> Told:
    return assert_same(request(metric(data, point)), OtlpLimits(**limits))


def values(told: Told) -> list[float]:
    return list(array("d", told.streams[0]["values"]))


def shape(told: Told) -> list[tuple[float, float]]:
    stream = told.streams[0]
    return list(zip(array("d", stream["shape_at"]), array("d", stream["shape"]), strict=True))


def doubles(field: int, *numbers: float) -> bytes:
    return message(field, struct.pack(f"<{len(numbers)}d", *numbers))


def counts(field: int, *numbers: int) -> bytes:
    return message(field, struct.pack(f"<{len(numbers)}Q", *numbers))


def attributes(*found: KeyValue | bytes) -> bytes:
    return b"".join(message(7, pair if isinstance(pair, bytes) else pair.SerializeToString()) for pair in found)
