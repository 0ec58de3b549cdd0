"""The doors of a running server, as clients that know nothing of its inside."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import httpx
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from driftlock.engine.event import Signal
from tests.conformance import wire
from tests.conformance.contract import Differs, Kind, Outcome, Parcel, Shape

RESPONSES: Mapping[Signal, type[Message]] = {
    Signal.LOGS: ExportLogsServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.TRACES: ExportTraceServiceResponse,
}
REJECTED = {Signal.LOGS: "rejected_log_records", Signal.METRICS: "rejected_data_points", Signal.TRACES: "rejected_spans"}
SERVICES = {Signal.LOGS: "logs.v1.Logs", Signal.METRICS: "metrics.v1.Metrics", Signal.TRACES: "trace.v1.Trace"}
ELSEWHERE = "profiles.v1development.Profiles"
ALL = frozenset(Signal)
TIMEOUT_S = 20.0


def success(signal: Signal, response: Any) -> Outcome:
    """What a 200 or OK says. A partial success that is there and empty is one, too: clients would warn of it."""
    if not response.HasField("partial_success"):
        return Outcome(Kind.ACCEPTED)
    partial = response.partial_success
    return Outcome(Kind.PARTIAL, rejected=getattr(partial, REJECTED[signal]), message=partial.error_message)


def retry_info_ms(status: Status) -> int | None:
    """The delay in its details."""
    for detail in status.details:
        info = RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToMilliseconds()
    return None


class GrpcDoor:
    """OTLP/gRPC."""

    name = "grpc"
    signals = ALL
    differs: Mapping[str, Differs] = {}
    KINDS: Mapping[grpc.StatusCode, Kind] = {
        grpc.StatusCode.INVALID_ARGUMENT: Kind.PERMANENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.TOO_LARGE,
        grpc.StatusCode.UNAUTHENTICATED: Kind.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED: Kind.FORBIDDEN,
        grpc.StatusCode.UNIMPLEMENTED: Kind.NO_SUCH_PLACE,
        grpc.StatusCode.UNAVAILABLE: Kind.RETRYABLE,
    }

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def send(self, parcel: Parcel) -> Outcome:
        place = ELSEWHERE if parcel.shape is Shape.ELSEWHERE else SERVICES[parcel.signal]
        compression = grpc.Compression.Gzip if parcel.shape is Shape.BOMB else None
        return await self.send_raw(parcel.signal, wire.protobuf(parcel), parcel.key, place, compression)

    async def send_raw(
        self, signal: Signal, data: bytes, key: str, place: str = "", compression: grpc.Compression | None = None
    ) -> Outcome:
        """Send the bytes of a request; `place` is another service than that of the signal."""
        call = self._channel.unary_unary(f"/opentelemetry.proto.collector.{place or SERVICES[signal]}Service/Export")
        metadata = (("x-api-key", key),) if key else ()
        try:
            raw: bytes = await call(data, metadata=metadata, compression=compression, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return self._failure(error)
        return success(signal, RESPONSES[signal].FromString(raw))

    def _failure(self, error: grpc.aio.AioRpcError) -> Outcome:
        told = Status(code=error.code().value[0], message=error.details())
        for name, value in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                status = Status.FromString(bytes(value))
                assert (status.code, status.message) == (told.code, told.message)
                told = status
        return Outcome(self.KINDS[error.code()], message=told.message, retry_after_ms=retry_info_ms(told))


class HttpDoor:
    """OTLP/HTTP in one encoding."""

    signals = ALL
    KINDS: Mapping[int, Kind] = {
        400: Kind.PERMANENT,
        401: Kind.UNAUTHENTICATED,
        403: Kind.FORBIDDEN,
        404: Kind.NO_SUCH_PLACE,
        413: Kind.TOO_LARGE,
        429: Kind.RETRYABLE,
        503: Kind.RETRYABLE,
    }

    def __init__(self, client: httpx.AsyncClient, media_type: str) -> None:
        self._client = client
        self._media_type = media_type
        self._json = media_type == "application/json"
        self.name = "http-json" if self._json else "http-protobuf"
        self.differs: Mapping[str, Differs] = {}

    async def send(self, parcel: Parcel) -> Outcome:
        body = wire.otlp_json(parcel) if self._json else wire.protobuf(parcel)
        headers = {"content-type": self._media_type}
        if parcel.key:
            headers["authorization"] = f"Bearer {parcel.key}"
        if parcel.shape is Shape.BOMB:
            body, headers["content-encoding"] = wire.gzipped(body), "gzip"
        path = "/v1/profiles" if parcel.shape is Shape.ELSEWHERE else f"/v1/{parcel.signal}"
        answer = await self._client.post(path, content=body, headers=headers)
        assert answer.headers["content-type"] == self._media_type, answer
        if answer.status_code == 200:
            return success(parcel.signal, self._parsed(RESPONSES[parcel.signal](), answer.content))
        status = self._parsed(Status(), answer.content)
        retry_after = answer.headers.get("retry-after")
        hint_ms = None if retry_after is None else int(retry_after) * 1000
        told_ms = retry_info_ms(status)
        assert (told_ms is None) == (hint_ms is None), answer
        return Outcome(self.KINDS[answer.status_code], message=status.message, retry_after_ms=hint_ms)

    def _parsed(self, message: Any, content: bytes) -> Any:
        if self._json:
            return json_format.Parse(content, message)
        message.ParseFromString(content)
        return message


class RestDoor:
    """`POST /v1/detect`. Events are the log records of one stream, and a request is taken whole or not at all."""

    name = "rest"
    signals = frozenset({Signal.LOGS})
    _WHOLE = "one bad event refuses the request, and its place is named"
    differs: Mapping[str, Differs] = {
        "partial": Differs(Kind.PERMANENT, _WHOLE),
        "all-bad": Differs(Kind.PERMANENT, _WHOLE),
        "deeper-than-parsers-go": Differs(Kind.PERMANENT, _WHOLE),
        "no-resources": Differs(Kind.PERMANENT, "a person who sends no events made a mistake"),
        "no-scopes": Differs(Kind.PERMANENT, "a person who sends no events made a mistake"),
        "no-records": Differs(Kind.PERMANENT, "a person who sends no events made a mistake"),
        "invalid-utf-8": Differs(Kind.PERMANENT, "JSON is UTF-8 (RFC 8259)"),
        "invalid-utf-8-in-a-key": Differs(Kind.PERMANENT, "JSON is UTF-8 (RFC 8259)"),
        "invalid-utf-8-in-a-resource": Differs(Kind.PERMANENT, "JSON is UTF-8 (RFC 8259)"),
        "bomb": Differs(Kind.PERMANENT, "bodies of REST are not compressed: 415"),
        "flood": Differs(Kind.TOO_LARGE, "10,000 events are the limit here, answered as a size"),
        "wrong-stream": Differs(Kind.FORBIDDEN, "a request is of one stream, so it is refused as a whole"),
        "admission": Differs(Kind.ACCEPTED, "the gate is that of the OTLP receivers; the journal's queue bounds REST"),
        "draining": Differs(Kind.ACCEPTED, "what still comes in is journaled, and scored after the next start: 202"),
    }
    KINDS: Mapping[int, Kind] = {**HttpDoor.KINDS, 415: Kind.PERMANENT, 422: Kind.PERMANENT}

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def send(self, parcel: Parcel) -> Outcome:
        body = wire.rest_events(parcel)
        headers = {"content-type": "application/json", "idempotency-key": hashlib.sha256(body).hexdigest()}
        if parcel.key:
            headers["x-api-key"] = parcel.key
        if parcel.shape is Shape.BOMB:
            body, headers["content-encoding"] = wire.gzipped(body), "gzip"
        path = "/v1/nowhere" if parcel.shape is Shape.ELSEWHERE else "/v1/detect"
        answer = await self.client.post(path, content=body, headers=headers)
        told = json.loads(answer.content)
        if answer.status_code in (200, 202):
            return Outcome(
                Kind.ACCEPTED, accepted=None if told["duplicate"] else told["processed"], duplicate=told["duplicate"]
            )
        retry_after = answer.headers.get("retry-after")
        hint_ms = None if retry_after is None else int(retry_after) * 1000
        return Outcome(self.KINDS[answer.status_code], message=told["detail"], retry_after_ms=hint_ms)


@asynccontextmanager
async def open_doors(grpc_address: str, http_address: str, rest_address: str) -> AsyncIterator[dict[str, Any]]:
    """Clients of all doors, by name."""
    async with (
        grpc.aio.insecure_channel(grpc_address) as channel,
        httpx.AsyncClient(base_url=f"http://{http_address}", timeout=TIMEOUT_S) as http,
        httpx.AsyncClient(base_url=f"http://{rest_address}", timeout=TIMEOUT_S) as rest,
    ):
        doors = (
            GrpcDoor(channel),
            HttpDoor(http, "application/x-protobuf"),
            HttpDoor(http, "application/json"),
            RestDoor(rest),
        )
        yield {door.name: door for door in doors}
