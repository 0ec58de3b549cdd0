"""Spans of a request by the native reader, put together as the decoder of requests does it, to be compared with the oracle."""

from array import array
from typing import NamedTuple

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.otlp.envelope import Envelope, read_envelope
from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import READ
from collector.otlp.spanwire import SpanColumns, SpansRead, SpanTexts, read_spans
from collector.otlp.traces import trace_batches
from collector.otlp.values import plain_attributes
from collector.routing import ResourceRouter, Route
from driftlock.engine.canonical import Cuts
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import StreamBatch
from tests.collector.oracle.values import parse


class Outcome(NamedTuple):
    """What both decoders say, in common terms."""

    batches: tuple[StreamBatch, ...]
    rejected: dict[str, int]
    cuts: Cuts
    timed: bool


def envelope_of(request: bytes, limits: OtlpLimits) -> Envelope:
    return read_envelope(request, records_max=limits.records_max, containers_max=limits.containers_max, what="spans")


def read(request: bytes, limits: OtlpLimits) -> Outcome:
    """A request with resources that can be routed."""
    envelope = envelope_of(request, limits)
    routes, cuts = _routes(envelope, limits)
    streams: dict[tuple[StreamKey, bool], int] = {}
    environments: dict[tuple[str, bool], int] = {}
    services: dict[str, int] = {}
    names: list[dict[str, int]] = []
    numbers: list[int] = []
    for route in routes:
        stream = streams.setdefault((route.key, route.historical), len(streams)) if route else 0
        if stream == len(names):
            names.append({})
        numbers.append(names[stream].setdefault(route.instance, len(names[stream]) + 1) if route and route.instance else 0)
    result = read_spans(
        request,
        envelope,
        array("i", [streams[route.key, route.historical] if route else -1 for route in routes]),
        array("I", numbers),
        len(streams),
        array("i", [environments.setdefault(_environment(route), len(environments)) if route else 0 for route in routes]),
        array("I", [services.setdefault(route.service, len(services)) if route else 0 for route in routes]),
        len(environments),
        limits,
    )
    batches = [
        StreamBatch(key, _batch(texts, tuple(names[number]), historical))
        for number, ((key, historical), texts) in enumerate(zip(streams, result.columns, strict=True))
        if texts.lengths
    ]
    instances = [route.instance if route else "" for route in routes]
    batches += trace_batches(result.traces, list(environments), list(services), instances, limits)
    cuts.truncated += result.cuts[0]
    cuts.attributes_dropped += result.cuts[1]
    cuts.replaced += result.cuts[2]
    rejected = {str(reason): count for reason, count in zip(READ, result.rejected, strict=True) if count}
    return Outcome(tuple(batches), rejected, cuts, result.timed)


def _routes(envelope: Envelope, limits: OtlpLimits) -> tuple[list[Route | None], Cuts]:
    """None = a resource without spans."""
    cuts = Cuts()
    routes: list[Route | None] = []
    for resource, count in zip(envelope.resources, envelope.counts, strict=True):
        if not count:
            routes.append(None)
            continue
        attributes = parse(Resource, resource, limits, cuts).attributes
        told = plain_attributes(attributes, limits.resource_attributes_max, limits.text.depth_max, cuts)
        routes.append(ResourceRouter().route(Signal.TRACES, told))
    return routes, cuts


def _environment(route: Route) -> tuple[str, bool]:
    return route.environment, route.historical


def _batch(texts: SpanTexts, instances: tuple[str, ...], historical: bool) -> RecordBatch:
    return RecordBatch(
        text=texts.text,
        lengths=texts.lengths,
        times_ns=texts.times_ns,
        historical=historical,
        instances=instances,
        instance_index=texts.instance_index if instances else array("I"),
        trace_ids=texts.trace_ids,
        span_ids=texts.span_ids,
    )


def read_alone(*spans: bytes, limits: OtlpLimits | None = None) -> SpansRead:
    """Spans of one resource that lie one after another in a request, with something else around each."""
    request, places = bytearray(), array("q")
    for span in spans:
        places.extend([len(request) + 3, len(request) + 3 + len(span)])
        request += b"\xff\xff\xff" + span + b"\xff\xff"
    envelope = Envelope([b""], array("I", [len(spans)]), places)
    zero, none = array("i", [0]), array("I", [0])
    return read_spans(bytes(request), envelope, zero, none, 1, zero, none, 1, limits or OtlpLimits())


def columns_of(*spans: bytes) -> SpanColumns:
    """Those of them that have a place in a trace."""
    return read_alone(*spans).traces[0]


def lines_of(read: SpansRead, stream: int = 0) -> list[str]:
    """The texts of a stream."""
    texts = read.columns[stream]
    return [line.decode() for line in RecordBatch(text=texts.text, lengths=texts.lengths, times_ns=texts.times_ns).lines()]
