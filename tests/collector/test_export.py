"""The core that both transports share."""

import asyncio
from uuid import UUID

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.admission import AdmissionLimits
from collector.auth import Sender
from collector.otlp import decode
from collector.otlp.export import SERVICES, Exporter, request_hash
from collector.otlp.limits import OtlpLimits
from driftlock.engine.event import Signal
from driftlock.errors import Code, Internal, InvalidArgument, Unavailable
from tests.collector.fakes import NOW_NS, TENANT, Bench, bench
from tests.collector.otlp_requests import log, logs, message, nested, raw_logs, timed

SENDER = Sender(TENANT, None)
BAD = timed(message(5, nested(20)))


async def send(parts: Bench, body: bytes, signal: Signal = Signal.LOGS) -> bytes:
    exporter: Exporter = parts.exporter
    return await exporter.export(signal, SENDER, body, exporter.admit(signal, len(body), SENDER))


async def test_full_success_is_an_empty_response() -> None:
    body = logs(log("a"), log("b")).SerializeToString()
    async with bench() as parts:
        assert await send(parts, body) == b""
        (submission,) = parts.intake.submissions
        assert (submission.tenant_id, submission.signal, submission.received_ns) == (TENANT, Signal.LOGS, NOW_NS)
        assert submission.request_hash == request_hash(SENDER, Signal.LOGS, body)
        assert submission.records == 2
        accepted = {("logs", "accepted", "records"): 2, ("logs", "accepted", "bytes"): len(body)}
        assert parts.meter.counts == {("logs", "received", "records"): 2, **accepted}
        assert parts.meter.tenants == {TENANT}
        assert (parts.admission.requests, parts.admission.bytes) == (0, 0)


@pytest.mark.parametrize("signal", list(Signal))
async def test_empty_requests_are_success_and_journal_nothing(signal: Signal) -> None:
    async with bench() as parts:
        for body in (b"", message(1, b""), message(1, message(2, b""))):
            assert await send(parts, body, signal) == b""
        assert parts.intake.submissions == []
        assert not +parts.meter.counts


async def test_partial_success_says_how_much_and_why() -> None:
    async with bench() as parts:
        response = ExportLogsServiceResponse.FromString(await send(parts, raw_logs(BAD, timed(b""), BAD)))
        assert response.partial_success.rejected_log_records == 2
        assert response.partial_success.error_message == (
            "2 log records rejected: 2 too_deep: a value is nested deeper than 16 levels"
        )
        assert parts.meter.counts["logs", "rejected", "too_deep"] == 2
        assert parts.meter.counts["logs", "rejected", "unjournaled"] == 0
        assert (parts.intake.submissions[0].received_records, parts.intake.submissions[0].rejected) == (3, 2)
        assert parts.meter.counts["logs", "accepted", "records"] == 1


async def test_a_request_of_bad_records_only_is_not_submitted() -> None:
    async with bench() as parts:
        response = ExportLogsServiceResponse.FromString(await send(parts, raw_logs(BAD)))
        assert response.partial_success.rejected_log_records == 1
        assert parts.intake.submissions == []
        assert parts.meter.counts["logs", "rejected", "unjournaled"] == 1


async def test_each_signal_has_its_own_field() -> None:
    point = message(7, message(1, b"k") + message(2, nested(20)))
    metric = message(1, message(2, message(2, message(5, message(1, point)))))
    span = message(1, message(2, message(2, message(1, b"short"))))
    async with bench() as parts:
        metrics = ExportMetricsServiceResponse.FromString(await send(parts, metric, Signal.METRICS))
        assert metrics.partial_success.rejected_data_points == 1
        traces = ExportTraceServiceResponse.FromString(await send(parts, span, Signal.TRACES))
        assert traces.partial_success.rejected_spans == 1


async def test_message_bytes_max() -> None:
    async with bench(OtlpLimits(message_bytes_max=20)) as parts:
        response = ExportLogsServiceResponse.FromString(await send(parts, raw_logs(BAD)))
        assert response.partial_success.error_message == "1 log records reject"


async def test_overflow_is_a_warning() -> None:
    async with bench() as parts:
        parts.intake.overflowed = 1
        response = ExportLogsServiceResponse.FromString(await send(parts, logs(log()).SerializeToString()))
        assert response.partial_success.rejected_log_records == 0
        assert "_overflow" in response.partial_success.error_message
        assert parts.meter.counts["logs", "altered", "overflowed"] == 1


async def test_a_resend_is_success_once_counted() -> None:
    body = logs(log()).SerializeToString()
    async with bench() as parts:
        assert await send(parts, body) == await send(parts, body) == b""
        assert len(parts.intake.submissions) == 1
        assert parts.meter.counts["logs", "accepted", "records"] == 1
        assert parts.meter.counts["logs", "duplicate", "records"] == 1


async def test_without_times_equal_bytes_are_two_requests() -> None:
    body = logs(log(time_ns=0)).SerializeToString()
    async with bench() as parts:
        await send(parts, body)
        await send(parts, body)
        assert [kept.request_hash for kept in parts.intake.submissions] == [None, None]


def test_the_hash_tells_tenants_signals_and_bytes_apart() -> None:
    other = UUID(int=TENANT.int + 1)
    senders = [Sender(tenant, bound) for tenant in (TENANT, other) for bound in (None, "a")]
    hashes = {request_hash(sender, signal, body) for sender in senders for signal in Signal for body in (b"", b"a")}
    assert {len(found) for found in hashes} == {16}
    assert len(hashes) == 24


async def test_alterations_are_counted() -> None:
    broken = timed(message(5, message(1, b"\xff")))
    body = raw_logs(broken) + logs(log("x" * 300_000, attributes={f"k{n}": n for n in range(130)})).SerializeToString()
    async with bench() as parts:
        await send(parts, body)
        for what, count in (("replaced", 1), ("truncated", 1), ("attributes_dropped", 2)):
            assert parts.meter.counts["logs", "altered", what] == count


@pytest.mark.parametrize(
    ("error", "code"),
    [(Unavailable("full"), Code.UNAVAILABLE), (RuntimeError("secret"), Code.INTERNAL), (KeyError("x"), Code.INTERNAL)],
)
async def test_errors_of_the_intake_leave_as_errors_made_for_clients(error: Exception, code: Code) -> None:
    async with bench() as parts:
        parts.intake.error = error
        with pytest.raises((Unavailable, Internal)) as refused:
            await send(parts, logs(log()).SerializeToString())
        assert refused.value.code is code
        assert "secret" not in str(refused.value)
        refused = {("logs", "refused", code.value): 1, ("logs", "refused records", code.value): 1}
        assert parts.meter.counts == {("logs", "received", "records"): 1, **refused}
        assert parts.admission.requests == 0


async def test_bugs_are_logged_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as parts:
        parts.intake.error = RuntimeError("secret")
        with pytest.raises(Internal):
            await send(parts, logs(log()).SerializeToString())
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[1] is parts.intake.error


async def test_damage_is_refused_and_counted() -> None:
    async with bench() as parts:
        with pytest.raises(InvalidArgument):
            await send(parts, b"\x0a\x7f")
        assert parts.meter.counts == {("logs", "refused", "malformed"): 1}


async def test_a_cancelled_sender_does_not_undo_its_request() -> None:
    async with bench() as parts:
        parts.intake.gate = asyncio.Event()
        task = asyncio.create_task(send(parts, logs(log("kept")).SerializeToString()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert parts.admission.requests == 1  # still in flight, still counted
        parts.intake.gate.set()
        await parts.exporter.settle(5)
        assert parts.intake.lines() == ["kept"]
        assert parts.admission.requests == 0


async def test_settle_gives_up_after_its_time() -> None:
    async with bench() as parts:
        parts.intake.gate = asyncio.Event()
        task = asyncio.create_task(send(parts, logs(log()).SerializeToString()))
        await asyncio.sleep(0.01)
        await parts.exporter.settle(0.01)
        with pytest.raises(Unavailable, match="stopping"):
            await task
        refused = {("logs", "refused", "draining"): 1, ("logs", "refused records", "draining"): 1}
        assert parts.meter.counts == {("logs", "received", "records"): 1, **refused}
        assert parts.admission.requests == 0


async def test_large_requests_leave_the_event_loop_responsive() -> None:
    body = logs(log("x" * 100, attributes={"a": 1.5})).SerializeToString() * 100_000  # as many resources
    async with bench() as parts:
        task = asyncio.create_task(send(parts, body))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert await task == b""
        assert parts.intake.submissions[0].records == 100_000
        assert turns > 10


async def test_request_bytes_in_flight_are_admitted() -> None:
    async with bench(OtlpLimits(request_bytes_max=100), AdmissionLimits(requests_max=1, bytes_max=200)) as parts:
        slot = parts.exporter.admit(Signal.LOGS, 10, SENDER)
        with pytest.raises(Unavailable):
            parts.exporter.admit(Signal.LOGS, 10, SENDER)
        assert parts.meter.counts == {("logs", "refused", "overloaded"): 1}
        slot.close()


async def test_admission_must_hold_a_request_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        async with bench(OtlpLimits(request_bytes_max=101), AdmissionLimits(bytes_max=201)):
            pass


def test_services_are_those_of_the_protocol() -> None:
    assert [SERVICES[signal].name for signal in Signal] == [
        "opentelemetry.proto.collector.logs.v1.LogsService",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "opentelemetry.proto.collector.trace.v1.TraceService",
    ]


async def test_records_that_are_lost_on_the_way_are_never_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a decoder loses without a word, the sender is not told that it was taken."""
    body = logs(log("a"), log("b")).SerializeToString()
    async with bench() as parts:
        await send(parts, body)
        monkeypatch.setattr(decode._Decoding, "_lines", lambda *_: None)
        with pytest.raises(Internal, match="2 of 2 records"):
            await send(parts, body)
        assert [sent.received for sent in parts.intake.submissions] == [2]
        assert parts.meter.counts["logs", "received", "records"] == 4
        assert parts.meter.counts["logs", "refused records", "internal"] == 2
