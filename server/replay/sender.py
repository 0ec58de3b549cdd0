"""Sends lines as OTLP logs over one connection, in order, one request in flight; resends identical bytes until acknowledged.

Which answers may be retried: OpenTelemetry protocol specification, "Failures" and "OTLP/gRPC Throttling".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from server.logfile.jsonlines import whole
from server.logfile.reader import Line

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
BATCH_BYTES_MAX = 4 * 1024 * 1024
REQUEST_TIMEOUT_S = 30.0
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.1, 5.0
INT64 = range(-(2**63), 2**63)
RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def any_value(value: object) -> AnyValue:
    """A JSON value as OTLP's AnyValue; whole numbers beyond 64 bits become text."""
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and value in INT64:
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=[_pair(str(key), inner) for key, inner in value.items()]))
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(inner) for inner in value]))
    return AnyValue(string_value=whole(str(value)))


def _pair(key: str, value: object) -> KeyValue:
    return KeyValue(key=whole(key), value=any_value(value))


class ReplayError(Exception):
    """Lines can not be replayed; the text is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One serialized request: what is sent again is byte for byte what was sent."""

    data: bytes
    records: int


@dataclass(slots=True)
class SendCounts:
    """What became of the records. `accepted + rejected` is everything that was sent and answered."""

    accepted: int = 0
    rejected: int = 0
    retries: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def batches(lines: Iterable[Line], resource: Mapping[str, object], *, records_max: int, observed_ns: int) -> Iterator[Batch]:
    """Requests of up to `records_max` lines and about 4 MiB, in order.

    `observed_ns` + the position of its line is each record's observed time: it makes two batches of equal lines different
    requests, so that the server's deduplication of resent requests never mistakes one for the other.
    """
    attributes = [_pair(key, value) for key, value in resource.items()]
    records: list[LogRecord] = []
    size = 0

    def close() -> Batch:
        scope = ScopeLogs(log_records=records)
        request = ExportLogsServiceRequest(
            resource_logs=[ResourceLogs(resource=Resource(attributes=attributes), scope_logs=[scope])]
        )
        return Batch(request.SerializeToString(), len(records))

    for line in lines:
        record = LogRecord(
            time_unix_nano=line.time_ns,
            observed_time_unix_nano=observed_ns + line.position,
            body=any_value(line.body),
            attributes=[_pair(key, value) for key, value in line.attributes.items()],
        )
        record_bytes = record.ByteSize()
        if records and (len(records) >= records_max or size + record_bytes > BATCH_BYTES_MAX):
            yield close()
            records, size = [], 0
        records.append(record)
        size += record_bytes
    if records:
        yield close()


def retry_after_s(error: grpc.RpcError) -> float | None:
    """Seconds that the server asked to wait (google.rpc.RetryInfo), None if it did not."""
    for item in error.trailing_metadata() or ():
        if item.key == "grpc-status-details-bin":
            try:
                status = status_pb2.Status.FromString(item.value)
                for detail in status.details:
                    info = error_details_pb2.RetryInfo()
                    if detail.Unpack(info):
                        return float(info.retry_delay.ToNanoseconds() / 1e9)
            except ValueError:
                return None
    return None


class Sender:
    """One ordered OTLP/gRPC connection.

    `clock_s` and `sleep_s` are the monotonic clock and its sleep. Gives up after `retry_for_s` without an answer, or after
    `connect_for_s` when the server never answered at all. `notice` is told, in a few words, what is being waited for.
    """

    def __init__(
        self,
        target: str,
        api_key: str | None,
        *,
        clock_s: Callable[[], float],
        sleep_s: Callable[[float], None],
        retry_for_s: float,
        connect_for_s: float = 10.0,
        notice: Callable[[str], None],
    ) -> None:
        self._target = target
        self._metadata = (("x-api-key", api_key),) if api_key else ()
        self._clock_s, self._sleep_s, self._notice = clock_s, sleep_s, notice
        self._retry_for_s, self._connect_for_s = retry_for_s, connect_for_s
        self._answered = False
        self.counts = SendCounts()
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.enable_retries", 0),  # ours resend the same bytes and keep the order
        ]
        address = urlsplit(target).netloc if "://" in target else target
        if target.startswith("https://"):
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._export = self._channel.unary_unary(EXPORT, bytes, ExportLogsServiceResponse.FromString)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._channel.close()

    def send(self, all_batches: Iterable[Batch], advance: Callable[[int], None]) -> None:
        """Send all batches in order; `advance` is told the records of each acknowledged one. Raises `ReplayError` on loss."""
        flight: tuple[Batch, grpc.Future[ExportLogsServiceResponse]] | None = None
        for batch in all_batches:  # the next batch is read and encoded while the one before it is under way
            if flight is not None:
                self._finish(*flight)
                advance(flight[0].records)
            flight = (batch, self._start(batch))
        if flight is not None:
            self._finish(*flight)
            advance(flight[0].records)

    def _start(self, batch: Batch) -> "grpc.Future[ExportLogsServiceResponse]":
        return self._export.future(batch.data, timeout=REQUEST_TIMEOUT_S, metadata=self._metadata)

    def _finish(self, batch: Batch, call: "grpc.Future[ExportLogsServiceResponse]") -> None:
        """Wait for the answer; resend as long as the protocol allows it."""
        began_s, backoff_s, noticed = self._clock_s(), BACKOFF_FIRST_S, ""
        while True:
            try:
                self._account(batch, call.result())
            except grpc.RpcError as error:
                hint_s = retry_after_s(error)
                self._check_retryable(error, hint_s, self._clock_s() - began_s)
                why = f"{error.code().name.lower()}: {error.details()}"
                if why != noticed:  # once for each reason, not for each attempt
                    self._notice(why)
                    noticed = why
                self.counts.retries += 1
                self._sleep_s(backoff_s if hint_s is None else hint_s)
                backoff_s = min(backoff_s * 2, BACKOFF_LAST_S)
                call = self._start(batch)
            else:
                self._answered = True
                return

    def _check_retryable(self, error: grpc.RpcError, hint_s: float | None, waited_s: float) -> None:
        code, details = error.code(), error.details()
        if code not in RETRYABLE and not (code is grpc.StatusCode.RESOURCE_EXHAUSTED and hint_s is not None):
            advice = "; set --api-key or DRIFTLOCK_API_KEY" if code is grpc.StatusCode.UNAUTHENTICATED else ""
            raise ReplayError(f"the server refused a batch for good after {self.counts.accepted} records: {details}{advice}")
        if not self._answered and code is grpc.StatusCode.UNAVAILABLE and hint_s is None and waited_s > self._connect_for_s:
            raise ReplayError(f"nothing answers at {self._target}: start `driftlock serve`, or set --otlp-endpoint ({details})")
        if waited_s > self._retry_for_s:
            raise ReplayError(f"no success for {waited_s:.0f} s after {self.counts.accepted} records: {details}")

    def _account(self, batch: Batch, answer: ExportLogsServiceResponse) -> None:
        rejected = int(answer.partial_success.rejected_log_records)
        self.counts.accepted += batch.records - rejected
        self.counts.rejected += rejected
        message = answer.partial_success.error_message
        if message:
            self.counts.reasons[message] = self.counts.reasons.get(message, 0) + max(rejected, 1)
