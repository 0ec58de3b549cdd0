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
from hashlib import blake2b
from types import ModuleType
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from collector.admission import Admission, Slot
from collector.auth import Authenticator, Credentials
from collector.otlp.decode import Decoded, decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.status import safe
from collector.redact import Redactor
from collector.routing import Router
from collector.telemetry import IngestMeter
from driftlock.engine.canonical import Cuts, cut_utf8
from driftlock.engine.event import Signal
from driftlock.engine.ports import Intake, Receipt, Submission
from driftlock.errors import DriftlockError

REQUEST_HASH_BYTES = 16
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
        redactor: Redactor,
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
        self._router = router
        self._redactor = redactor
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

    async def authenticate(self, signal: Signal, credentials: Credentials) -> UUID:
        """The tenant that may send; raises `Unauthenticated`, `PermissionDenied` or `Unavailable`."""
        try:
            return await self._authenticator.tenant(credentials)
        except Exception as error:
            answer = self.refusal(signal, error)
            raise answer.with_traceback(None) from None

    def admit(self, signal: Signal, request_bytes: int) -> Slot:
        """A slot for the request, which `export` closes; raises `Unavailable` with a retry hint."""
        try:
            return self._admission.admit(request_bytes)
        except DriftlockError as error:
            answer = self.refusal(signal, error)
            raise answer.with_traceback(None) from None

    def refusal(self, signal: Signal, error: Exception) -> DriftlockError:
        """Count a request that is answered with an error, and make the error safe to send."""
        answer = safe(error)
        if answer is not error:  # a bug: the client learns nothing of it, the operator everything
            logging.getLogger(__name__).error("unexpected error while receiving %s", signal, exc_info=error)
        self._meter.refused(signal, answer.code)
        return answer

    async def export(self, signal: Signal, tenant_id: UUID, body: bytes, slot: Slot, unpack: Unpack | None = None) -> bytes:
        """Serialized Export response once the records are durable. Cancelling the caller does not cancel the work.

        `unpack` decompresses the body where the transport has not; it must hold the limit by itself.
        """
        task = asyncio.create_task(self._export(signal, tenant_id, body, slot, unpack))
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

    async def _export(self, signal: Signal, tenant_id: UUID, body: bytes, slot: Slot, unpack: Unpack | None) -> bytes:
        with slot:
            try:
                return await self._accept(signal, tenant_id, body, slot, unpack)
            except Exception as error:
                answer = self.refusal(signal, error)
                # From itself it would be a cycle that keeps the body alive until the next full collection.
                raise answer.with_traceback(None) from None

    async def _accept(self, signal: Signal, tenant_id: UUID, body: bytes, slot: Slot, unpack: Unpack | None) -> bytes:
        received_ns = self._now_ns()
        if unpack is not None:
            body = await self._off_loop(partial(unpack, body))
            slot.grow(len(body))
        if len(body) > self._limits.inline_bytes_max:
            decoded, request_hash = await self._off_loop(partial(self._decode, signal, tenant_id, body))
        else:
            decoded, request_hash = self._decode(signal, tenant_id, body)
        receipt: Receipt | None = None
        if decoded.batches:
            submission = Submission(tenant_id, signal, received_ns, decoded.batches, request_hash)
            receipt = await self._intake.submit(submission)
        self._count(signal, decoded, receipt, len(body))
        return self._response(signal, decoded, receipt)

    async def _off_loop(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _decode(self, signal: Signal, tenant_id: UUID, body: bytes) -> tuple[Decoded, bytes | None]:
        decoded = decode(body, signal, self._limits, self._router, self._redactor)
        if not decoded.timed:
            return decoded, None  # without times, two equal requests may well be two events
        return decoded, request_hash(tenant_id, signal, body)

    def _count(self, signal: Signal, decoded: Decoded, receipt: Receipt | None, request_bytes: int) -> None:
        for reason, records in decoded.rejected.items():
            self._meter.rejected(signal, reason, records)
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
        ):
            if count:
                self._meter.altered(signal, what, count)

    def _response(self, signal: Signal, decoded: Decoded, receipt: Receipt | None) -> bytes:
        service = SERVICES[signal]
        rejected = sum(decoded.rejected.values())
        messages = [decoded.message] if decoded.message else []
        if receipt is not None and receipt.overflowed:
            messages.append(
                f"{receipt.overflowed} records went to the stream _overflow: this account has reached its number of streams"
            )
        if not messages:
            return b""  # full success: partial_success must not be set
        text = cut_utf8("; ".join(messages), self._limits.message_bytes_max, Cuts())
        outcome = {service.rejected_field: rejected, "error_message": text}
        return service.response(partial_success=outcome).SerializeToString()


def request_hash(tenant_id: UUID, signal: Signal, body: bytes) -> bytes:
    """Identity of a request: exporters resend identical bytes (BLAKE2b, RFC 7693, 16 bytes)."""
    digest = blake2b(tenant_id.bytes, digest_size=REQUEST_HASH_BYTES)
    digest.update(signal.encode())
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
