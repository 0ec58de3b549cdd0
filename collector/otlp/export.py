"""What OTLP/gRPC and OTLP/HTTP do alike: admit, decode, submit, answer.

Success means that the records are durable. A sender that hangs up does not undo its request: what was admitted is
finished, and the resend that follows is recognised by its bytes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from types import ModuleType
from typing import TypeVar

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from collector.admission import Admission, Slot
from collector.auth import Authenticator, Credentials, Sender
from collector.otlp.decode import Decoded, Decoder
from collector.otlp.limits import OtlpLimits
from collector.otlp.status import ANSWERS, safe
from collector.otlp.wire import Malformed
from collector.redact import Redaction, StreamRules
from collector.routing import NamelessNotices, Router
from driftlock.accounts.metering import Because, IngestMeter, Refusal, refusal_of
from driftlock.engine.canonical import Cuts, cut_utf8
from driftlock.engine.event import Signal
from driftlock.engine.origin import Origin
from driftlock.engine.ports import Intake, Receipt, Submission
from driftlock.errors import Code, DriftlockError, Internal, InvalidArgument, Unavailable

REQUEST_HASH_BYTES = 16
UNPACKING = Because({Code.PAYLOAD_TOO_LARGE: Refusal.BOMB, Code.INVALID_ARGUMENT: Refusal.DAMAGED})
TRANSCODING = Because({Code.INVALID_ARGUMENT: Refusal.MALFORMED})
DECODING = Because({Code.INVALID_ARGUMENT: Refusal.TOO_MANY_RECORDS})
SUBMITTING = Because({Code.INVALID_ARGUMENT: Refusal.NOT_STORABLE})
T = TypeVar("T")
Unpack = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class ExportService:
    """The OTLP service of a signal: its gRPC name and how its response says how much was rejected."""

    name: str
    response: type[Message]
    rejected_field: str


def _service(module: ModuleType, name: str, rejected_field: str) -> ExportService:
    full_name = module.DESCRIPTOR.services_by_name[f"{name}Service"].full_name
    return ExportService(full_name, getattr(module, f"Export{name}ServiceResponse"), rejected_field)


SERVICES: Mapping[Signal, ExportService] = {
    Signal.LOGS: _service(logs_service_pb2, "Logs", "rejected_log_records"),
    Signal.METRICS: _service(metrics_service_pb2, "Metrics", "rejected_data_points"),
    Signal.TRACES: _service(trace_service_pb2, "Trace", "rejected_spans"),
}


@dataclass(slots=True)
class _Request:
    """A request under way: how many records it holds, once that is known."""

    signal: Signal
    sender: Sender
    records: int = 0
    origin: Origin | None = None
    whole: bool = False


class Exporter:
    """The handler of Export requests, shared by the transports of a process.

    `executor` decodes requests over `limits.inline_bytes_max`, so that the event loop stays responsive; `now_ns` is the
    clock of receive times. Errors leave as `DriftlockError`, whatever went wrong.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        authenticator: Authenticator,
        admission: Admission,
        router: Router,
        redaction: Redaction,
        limits: OtlpLimits,
        meter: IngestMeter,
        executor: Executor,
        now_ns: Callable[[], int],
    ) -> None:
        if admission.limits.bytes_max < 2 * limits.request_bytes_max:
            raise ValueError("AdmissionLimits.bytes_max must be at least twice OtlpLimits.request_bytes_max")
        self._intake = intake
        self._authenticator = authenticator
        self._admission = admission
        self._decoder = Decoder(limits, router)
        self._redaction = redaction
        self._nameless = NamelessNotices()
        self._limits = limits
        self._meter = meter
        self._executor = executor
        self._now_ns = now_ns
        self._under_way: set[asyncio.Task[bytes]] = set()

    @property
    def limits(self) -> OtlpLimits:
        """The limits in force."""
        return self._limits

    @property
    def admission(self) -> Admission:
        """The gate that all requests pass."""
        return self._admission

    async def authenticate(self, signal: Signal, credentials: Credentials) -> Sender:
        """Who may send, and where; raises `Unauthenticated`, `PermissionDenied` or `Unavailable`."""
        try:
            return await self._authenticator.sender(credentials)
        except Exception as error:
            answer = self.refusal(signal, error)
            raise answer.with_traceback(None) from None

    def admit(self, signal: Signal, request_bytes: int, sender: Sender) -> Slot:
        """A slot for the request, which `export` closes; raises `Unavailable` with a retry hint."""
        try:
            return self._admission.admit(request_bytes, sender.tenant_id)
        except DriftlockError as error:
            answer = self.refusal(signal, error, sender)
            raise answer.with_traceback(None) from None

    def refusal(
        self, signal: Signal | None, error: Exception, sender: Sender | None = None, *, records: int = 0
    ) -> DriftlockError:
        """Count a request that is answered with an error, under the error's reason, and make the error safe to send.

        Of `signal` and `sender` whatever is known by then; `records` as many as were decoded.
        """
        answer = safe(error)
        if answer is not error:  # a bug: the client learns nothing of it, the operator everything
            logging.getLogger(__name__).error("unexpected error while receiving %s", signal, exc_info=error)
        if ANSWERS[answer.code].retryable:  # spread: who was turned away together should not come back together
            answer.retry_after_ms = self._admission.retry_hint_ms(answer.retry_after_ms)
        self._meter.refused(None if sender is None else sender.tenant_id, signal, refusal_of(answer), records)
        return answer

    async def export(
        self,
        signal: Signal,
        sender: Sender,
        body: bytes,
        slot: Slot,
        unpack: Unpack | None = None,
        transcode: Unpack | None = None,
        *,
        origin: Origin | None = None,
        whole: bool = False,
    ) -> bytes:
        """Serialized Export response once the records are durable. Cancelling the caller does not cancel the work.

        `unpack` decompresses the body where the transport has not; `transcode` turns what came out into protobuf where it is
        not. Each must hold the limit by itself. A resend is recognised by its bytes before `transcode`.
        `origin` says of which messages of a topic the records are: those of several are recognised by their places alone.
        `whole`: where one record can not be accepted, none is, and the request is refused.
        """
        request = _Request(signal, sender, origin=origin, whole=whole)
        task = asyncio.create_task(self._export(request, [body], slot, unpack, transcode))
        del body  # a frame that waits would keep it in memory
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def settle(self, timeout_s: float) -> None:
        """Wait for requests whose senders may be gone; after the timeout they are cancelled, unacknowledged."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=timeout_s)
            for task in late:
                task.cancel()

    def _ended(self, task: "asyncio.Task[bytes]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still listens has it; asyncio need not complain for those who do not

    async def _export(
        self, request: _Request, body: list[bytes], slot: Slot, unpack: Unpack | None, transcode: Unpack | None
    ) -> bytes:
        """As `export`; the body is handed over, so that it is not kept longer than somebody reads it."""
        signal, sender = request.signal, request.sender
        with slot:
            try:
                return await self._accept(request, body.pop(), slot, unpack, transcode)
            except Exception as error:
                answer = self.refusal(signal, error, sender, records=request.records)
                # From itself it would be a cycle that keeps the body alive until the next full collection.
                raise answer.with_traceback(None) from None
            except asyncio.CancelledError:  # the process ends, or what was waited for did; the journal may have the records
                stopping = Unavailable("the server is stopping; send again", reason=Refusal.DRAINING)
                raise self.refusal(signal, stopping, sender, records=request.records) from None

    async def _accept(
        self, request: _Request, body: bytes, slot: Slot, unpack: Unpack | None, transcode: Unpack | None
    ) -> bytes:
        signal, sender, received_ns = request.signal, request.sender, self._now_ns()
        if unpack is not None:
            with UNPACKING:
                body = await self._off_loop(partial(unpack, body))
            slot.grow(len(body))
        message = body
        if transcode is not None:
            small = len(body) <= self._limits.inline_bytes_max
            with TRANSCODING:
                message = await self._worked(partial(transcode, body), at_once=small)
            slot.grow(len(message))
        rules = await self._redaction.rules(sender.tenant_id)
        decode, size = partial(self._decode, signal, sender, body, message, rules), len(body)
        with DECODING:
            decoded, request_hash = await self._worked(decode, at_once=self._decoder.is_quick(message))
        del decode, body, message  # what they say is in columns by now
        rejected = sum(decoded.rejected.values())
        if rejected and request.whole:
            raise InvalidArgument(decoded.message, reason=Refusal.BAD_RECORDS)
        if request.origin is not None and request.origin.offset is None:
            request_hash = None
        received = decoded.read
        self._meter.received(sender.tenant_id, signal, received)
        request.records = received
        if received != decoded.accepted + rejected:
            lost = received - decoded.accepted - rejected
            raise Internal(f"{lost} of {received} records were lost while they were read; this is a bug, please report it")
        slot.grow(sum(part.batch.size_bytes for part in decoded.batches))
        receipt: Receipt | None = None
        if decoded.batches:
            submission = Submission(
                sender.tenant_id,
                signal,
                received_ns,
                decoded.batches,
                request_hash,
                received=received,
                rejected=rejected,
                origin=request.origin,
            )
            with SUBMITTING:
                receipt = await self._intake.submit(submission)
        request.records = 0  # what became of them is counted now; what fails from here on is an answer
        self._count(request, decoded, receipt, size)
        return self._response(signal, decoded, self._notices(signal, sender, decoded, receipt, received_ns))

    async def _off_loop(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def _worked(self, call: Callable[[], T], *, at_once: bool) -> T:
        """What is quick is done at once: the change of threads would take longer."""
        return call() if at_once else await self._off_loop(call)

    def _decode(
        self, signal: Signal, sender: Sender, body: bytes, request: bytes, rules: StreamRules | None
    ) -> tuple[Decoded, bytes | None]:
        """What the request says, and the hash of its body as it was sent."""
        try:
            decoded = self._decoder.decode(request, signal, sender.bound, rules)
        except Malformed as error:
            error.reason = Refusal.MALFORMED
            raise
        if not decoded.timed:
            return decoded, None  # without times, two equal requests may well be two events
        return decoded, request_hash(sender, signal, body)

    def _count(self, request: _Request, decoded: Decoded, receipt: Receipt | None, request_bytes: int) -> None:
        signal, tenant_id = request.signal, request.sender.tenant_id
        for reason, records in decoded.rejected.items():
            self._meter.rejected(tenant_id, signal, reason, records, journaled=receipt is not None)
        if receipt is None:
            return
        if receipt.duplicate:
            self._meter.duplicate(signal, decoded.accepted)
            return
        self._meter.accepted(signal, decoded.accepted, request_bytes)
        cuts = decoded.cuts
        for what, count in (
            ("truncated", cuts.truncated),
            ("attributes_dropped", cuts.attributes_dropped),
            ("replaced", cuts.replaced),
            ("overflowed", receipt.overflowed),
            ("nameless", decoded.nameless),
            ("redacted", decoded.redacted),
        ):
            if count:
                self._meter.altered(signal, what, count)

    def _notices(
        self, signal: Signal, sender: Sender, decoded: Decoded, receipt: Receipt | None, received_ns: int
    ) -> list[str]:
        """What the sender should know of records that were journaled."""
        if receipt is None or receipt.duplicate:
            return []
        notices = [self._nameless.message(sender.tenant_id, signal, decoded.nameless, received_ns)] if decoded.nameless else []
        if receipt.overflowed:
            notices.append(
                f"{receipt.overflowed} records went to the stream _overflow: this account has reached its number of streams"
            )
        return [notice for notice in notices if notice]

    def _response(self, signal: Signal, decoded: Decoded, notices: list[str]) -> bytes:
        service = SERVICES[signal]
        rejected = sum(decoded.rejected.values())
        messages = [decoded.message, *notices] if decoded.message else notices
        if not messages:
            return b""  # full success: partial_success must not be set
        text = cut_utf8("; ".join(messages), self._limits.message_bytes_max, Cuts())
        outcome = {service.rejected_field: rejected, "error_message": text}
        return service.response(partial_success=outcome).SerializeToString()


def request_hash(sender: Sender, signal: Signal, body: bytes) -> bytes:
    """Identity of a request: exporters resend identical bytes (SHA-256, FIPS 180-4, its first 16 bytes).

    SHA-256, because processors have instructions for it: everything else takes twice as long, as long as the decoding itself.
    What was accepted of a bound sender may be less than what the same bytes mean from another one.
    """
    bound = b"" if sender.bound is None else b"\1" + sender.bound.encode()
    digest = sha256(sender.tenant_id.bytes + signal.encode() + bound + b"\0")
    digest.update(body)
    return digest.digest()[:REQUEST_HASH_BYTES]
