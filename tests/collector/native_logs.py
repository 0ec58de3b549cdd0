"""Log requests through the native kernels and through the oracle, brought to one form that can be compared."""

from array import array
from collections import Counter
from dataclasses import astuple
from typing import NamedTuple

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.otlp.envelope import read_envelope
from collector.otlp.limits import OtlpLimits
from collector.otlp.logwire import read_logs
from collector.otlp.reasons import READ
from collector.otlp.sanitize import TooManyElements
from collector.otlp.values import plain_attributes
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import Cuts, TooDeep
from driftlock.engine.event import Signal
from tests.collector.oracle.decode import decode
from tests.collector.oracle.values import parse

WHAT = "log records"


class Row(NamedTuple):
    """A record as it is stored."""

    text: bytes
    time_ns: int
    trace_id: bytes
    span_id: bytes
    instance: str


class Said(NamedTuple):
    """What is said of a request: its records by stream (streams without records are left out), and what was lost."""

    streams: dict[str, list[Row]]
    rejected: dict[str, int]
    cuts: tuple[int, ...]
    timed: bool


def native(request: bytes, limits: OtlpLimits | None = None) -> Said:
    """What the kernels say; resources are parsed and routed here."""
    limits = limits or OtlpLimits()
    envelope = read_envelope(request, records_max=limits.records_max, containers_max=limits.containers_max, what=WHAT)
    cuts, rejected = Cuts(), Counter[str]()
    names: dict[str, list[str]] = {}
    streams, instances = array("i"), array("I")
    for resource, count in zip(envelope.resources, envelope.counts, strict=True):
        stream = number = 0
        try:
            message = parse(Resource, resource, limits, cuts) if count else Resource()
        except (TooDeep, TooManyElements) as error:
            rejected["too_deep" if isinstance(error, TooDeep) else "too_many_elements"] += count
            stream = -1
        else:
            attributes_max, depth_max = limits.resource_attributes_max, limits.text.depth_max
            route = ResourceRouter().route(Signal.LOGS, plain_attributes(message.attributes, attributes_max, depth_max, cuts))
            known = names.setdefault(route.key.text, [])
            stream = list(names).index(route.key.text)
            if route.instance:
                known.extend(() if route.instance in known else (route.instance,))
                number = known.index(route.instance) + 1
        streams.append(stream)
        instances.append(number)
    read = read_logs(request, envelope, streams, instances, len(names), limits)
    rejected.update({str(reason): count for reason, count in zip(READ, read.rejected, strict=True)})
    found: dict[str, list[Row]] = {}
    for (name, known), columns in zip(names.items(), read.columns, strict=True):
        rows: list[Row] = []
        begin = 0
        for i, (length, time_ns, instance) in enumerate(
            zip(columns.lengths, columns.times_ns, columns.instance_index, strict=True)
        ):
            text = columns.text[begin : begin + length]
            ids = columns.trace_ids[16 * i : 16 * i + 16], columns.span_ids[8 * i : 8 * i + 8]
            rows.append(Row(text, time_ns, *ids, ["", *known][instance]))
            begin += length
        assert begin == len(columns.text)
        assert {len(columns.trace_ids), len(columns.span_ids)} <= {0, 16 * len(rows), 8 * len(rows)}
        if rows:
            found[name] = rows
    lost = tuple(sum(both) for both in zip(astuple(cuts), read.cuts, strict=True))
    return Said(found, {reason: count for reason, count in rejected.items() if count}, lost, read.timed)


def oracle(request: bytes, limits: OtlpLimits | None = None) -> Said:
    """What the oracle says."""
    decoded = decode(request, Signal.LOGS, limits or OtlpLimits(), ResourceRouter(), NoRedaction())
    found: dict[str, list[Row]] = {}
    for part in decoded.batches:
        batch = part.batch
        names = ("", *batch.instances)
        index = batch.instance_index or array("I", bytes(4 * len(batch.lengths)))
        found[part.key.text] = [
            Row(text, time_ns, batch.trace_ids[16 * i : 16 * i + 16], batch.span_ids[8 * i : 8 * i + 8], names[index[i]])
            for i, (text, time_ns) in enumerate(zip(batch.lines(), batch.times_ns, strict=True))
        ]
    rejected = {str(reason): count for reason, count in decoded.rejected.items()}
    return Said(found, rejected, astuple(decoded.cuts), decoded.timed)
