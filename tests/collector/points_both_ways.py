"""The data points of a request, read natively and by the oracle, and told in the same words so that they can be compared."""

import struct
from array import array
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.otlp.limits import OtlpLimits
from collector.otlp.pointwire import REASONS, PointColumns, read_metrics, read_points
from collector.otlp.sanitize import TooManyElements
from collector.otlp.values import plain_attributes
from collector.otlp.wire import Malformed
from collector.redact import NoRedaction
from collector.routing.route import Route
from driftlock.engine.canonical import Cuts, TooDeep, Value, shown_name
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.errors import InvalidArgument
from tests.collector.oracle.decode import decode
from tests.collector.oracle.values import parse
from tests.collector.oracle.wire import Malformed as Broken

NUMBERS = ("values", "starts_ns", "counts", "sums", "shape_sizes", "shape_at", "shape")


class ByService:
    """A stream for each service name, an instance for each host name."""

    def route(self, signal: Signal, attributes: Mapping[str, Value]) -> Route:
        service = str(attributes.get("service.name", ""))[:50] or "none"
        return Route(StreamKey(signal, service), str(attributes.get("host.name", ""))[:50], False, service, "")


class Told(NamedTuple):
    """What was read, stream by stream; exceptions as their kind and words."""

    streams: list[dict[str, Any]]
    rejected: dict[str, int]
    messages: list[str]
    cuts: tuple[int, int, int]
    timed: bool
    error: str = ""


def _bits(numbers: "array[Any]") -> bytes:
    """As they are in memory; all NaN are one, for Python may change their bits when it copies them."""
    if numbers.typecode != "d":
        return numbers.tobytes()
    return b"".join(struct.pack("<d", number) if number == number else b"NaN_____" for number in numbers)


def _stream(columns: PointColumns | RecordBatch) -> dict[str, Any]:
    told: dict[str, Any] = {name: _bits(getattr(columns, name)) for name in NUMBERS}
    instances = columns.instance_index
    return told | {
        "lines": [
            columns.text[end - length : end] for end, length in zip(accumulate(columns.lengths), columns.lengths, strict=True)
        ],
        "times_ns": list(columns.times_ns),
        "series": list(columns.series),
        "series_index": list(columns.series_index),
        "point_kinds": columns.point_kinds,
        "instances": list(instances) if any(instances) else [],
    }


def oracle(request: bytes, limits: OtlpLimits) -> Told:
    try:
        decoded = decode(request, Signal.METRICS, limits, ByService(), NoRedaction())
    except InvalidArgument as error:
        return _failed(error)
    cuts = decoded.cuts
    return Told(
        [_stream(part.batch) for part in decoded.batches],
        {str(reason): count for reason, count in decoded.rejected.items()},
        [decoded.message],
        (cuts.truncated, cuts.attributes_dropped, cuts.replaced),
        decoded.timed,
    )


def native(request: bytes, limits: OtlpLimits) -> Told:
    try:
        return _native(request, limits)
    except InvalidArgument as error:
        return _failed(error)


def _native(request: bytes, limits: OtlpLimits) -> Told:
    envelope = read_metrics(request, records_max=limits.records_max, containers_max=limits.containers_max, limits=limits)
    assert len(envelope.resources) == len(envelope.counts)
    rejected: Counter[str] = Counter()
    messages: set[str] = set()
    cuts = Cuts()
    numbers: dict[Any, int] = {}
    known: dict[tuple[Any, str], int] = {}
    streams, instances = array("i"), array("I")
    for resource, count in zip(envelope.resources, envelope.counts, strict=True):
        stream, instance = -1, 0
        try:
            if count:
                message = parse(Resource, resource, limits, cuts)
                route = ByService().route(
                    Signal.METRICS, plain_attributes(message.attributes, limits.resource_attributes_max, 16, cuts)
                )
                stream = numbers.setdefault(route.key, len(numbers))
                if route.instance:
                    of_stream = sum(key == route.key for key, _ in known)
                    instance = known.setdefault((route.key, route.instance), of_stream + 1)
        except (TooDeep, TooManyElements) as error:
            rejected["too_deep" if isinstance(error, TooDeep) else "too_many_elements"] += count
            messages.add(error.message)
        streams.append(stream)
        instances.append(instance)
    read = read_points(request, envelope, streams, instances, len(numbers), limits)
    for columns in read.columns:
        check_columns(columns)
    rejected.update({reason: count for reason, count in zip(REASONS, read.rejected, strict=True) if count})
    return Told(
        [_stream(columns) for columns in read.columns if len(columns.lengths)],
        dict(rejected),
        sorted(messages | {message for message in read.messages if message}),
        (
            cuts.truncated + read.cuts[0],
            cuts.attributes_dropped + read.cuts[1],
            cuts.replaced + read.cuts[2],
        ),
        read.timed,
    )


def check_columns(columns: PointColumns) -> None:
    """What holds for columns whatever was read."""
    assert sum(columns.lengths) == len(columns.text)
    assert len(columns.instance_index) == len(columns.lengths)
    for series, shown in zip(columns.series, columns.shown, strict=True):
        assert series.encode()[:shown].decode() == shown_name(series)
        assert series.encode()[shown] == 0x1F


def _failed(error: InvalidArgument) -> Told:
    """Where exactly bytes are not protobuf is not compared."""
    return Told([], {}, [], (0, 0, 0), True, "Malformed" if isinstance(error, Malformed | Broken) else error.message)


def assert_same(request: bytes, limits: OtlpLimits | None = None) -> Told:
    """Both say the same; -> what they say."""
    limits = limits or OtlpLimits()
    expected, found = oracle(request, limits), native(request, limits)
    for name, was, now in zip(Told._fields, expected, found, strict=True):
        if name == "messages":  # the oracle makes one sentence of them
            assert len(now) == len(found.rejected)
            assert all(message in was[0] for message in now)
        else:
            assert now == was, name
    return found
