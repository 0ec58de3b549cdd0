"""Calls that are slow, cut off or too many: what was admitted goes on, and nothing is held for those who say nothing."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from collector.admission import AdmissionLimits
from collector.auth import IngestAccess
from collector.otlp.grpc import GrpcLimits
from collector.otlp.limits import OtlpLimits
from driftlock.accounts.access import Access
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, KeyRecord, Principal, Scope, mint
from tests.collector.fakes import TENANT
from tests.collector.grpc_calls import (
    AUTH,
    DATA,
    END_STREAM,
    EXPORT_HEADERS,
    HELLO,
    RST_STREAM,
    connected,
    frame,
    grpc_message,
    raw_connection,
    retry_ms,
)
from tests.collector.otlp_requests import add_logs, log, logs

QUICK = GrpcLimits(rpc_deadline_ms=150)
SOON = OtlpLimits()
STATUS_OK, STATUS_UNAVAILABLE, STATUS_UNAUTHENTICATED = (b"grpc-status" + code for code in (b"\x010", b"\x0214", b"\x0216"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - numbers have no events
            await asyncio.sleep(0.005)


async def test_a_clients_deadline_does_not_undo_what_was_admitted() -> None:
    async with connected() as client:
        client.parts.intake.gate = asyncio.Event()
        failure = await client.failure(timeout=0.2)
        assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.05)
        client.parts.intake.gate.set()
        await client.parts.exporter.settle(5)
        assert client.parts.intake.lines() == ["hello"]
        assert await client.export(HELLO) == b""  # the resend
        assert client.parts.intake.lines() == ["hello"]
        assert client.parts.meter.counts["logs", "duplicate", "records"] == 1


async def test_a_cancelled_call_does_not_undo_what_was_admitted() -> None:
    async with connected() as client:
        client.parts.intake.gate = asyncio.Event()
        call = asyncio.create_task(client.export(HELLO))
        await client.parts.intake.entered.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0.05)
        client.parts.intake.gate.set()
        await client.parts.exporter.settle(5)
        assert client.parts.intake.lines() == ["hello"]
        assert client.parts.admission.requests == 0
        assert client.parts.meter.counts["logs", "accepted", "records"] == 1


async def test_rpc_deadline_ms_answers_retryably_and_the_commit_goes_on() -> None:
    async with connected(grpc_limits=QUICK) as client:
        client.parts.intake.gate = asyncio.Event()
        failure = await client.failure(timeout=5)
        assert (failure.code(), retry_ms(failure)) == (grpc.StatusCode.UNAVAILABLE, 1000)
        assert "rpc_deadline_ms" in str(failure.details())
        assert client.parts.admission.requests == 1  # the room is taken as long as the work goes on
        client.parts.intake.gate.set()
        await client.parts.exporter.settle(5)
        assert client.parts.admission.requests == 0
        assert await client.export(HELLO) == b""
        assert client.parts.intake.lines() == ["hello"]
        counts = client.parts.meter.counts
        assert counts["logs", "accepted", "records"] == counts["logs", "duplicate", "records"] == 1
        assert not [key for key in counts if key[1] == "refused"]  # each request is counted once


@pytest.mark.parametrize("sent", [b"", b"\x00", grpc_message(HELLO)[:-1]], ids=["nothing", "a byte", "all but the last byte"])
async def test_a_message_that_does_not_come_gives_its_room_back(sent: bytes) -> None:
    async with connected(grpc_limits=QUICK) as client, raw_connection(client.server.port) as connection:
        for stream in (1, 3, 5):
            connection.open_call(stream)
            connection.writer.write(frame(DATA, 0, stream, sent))
        await until(lambda: client.parts.admission.requests == 3)
        assert await client.export(HELLO) == b""  # nobody waits for them
        await connection.until(STATUS_UNAVAILABLE)
        await until(lambda: client.parts.admission.requests == 0)
        assert client.parts.meter.counts["logs", "refused", "too_slow"] == 3
        assert len(client.parts.intake.submissions) == 1


async def test_a_message_may_come_in_small_pieces() -> None:
    async with connected() as client, raw_connection(client.server.port) as connection:
        connection.open_call(1)
        for byte in grpc_message(HELLO):
            connection.writer.write(frame(DATA, 0, 1, bytes([byte])))
        connection.writer.write(frame(DATA, END_STREAM, 1))
        await connection.until(STATUS_OK)
        assert client.parts.intake.lines() == ["hello"]


async def test_a_call_that_ends_before_its_message_gives_its_room_back() -> None:
    async with connected() as client, raw_connection(client.server.port) as connection:
        connection.open_call(1)
        await until(lambda: client.parts.admission.requests == 1)
        connection.writer.write(frame(RST_STREAM, 0, 1, b"\x00\x00\x00\x08"))
        await until(lambda: client.parts.admission.requests == 0)
        connection.open_call(3)
        await until(lambda: client.parts.admission.requests == 1)
        connection.writer.close()
        await until(lambda: client.parts.admission.requests == 0)
        assert client.parts.intake.submissions == []


async def test_a_call_without_a_message_is_answered() -> None:
    async with connected() as client, raw_connection(client.server.port) as connection:
        connection.open_call(1)
        connection.writer.write(frame(DATA, END_STREAM, 1))
        await connection.until(b"grpc-status\x013")  # INVALID_ARGUMENT
        assert client.parts.admission.requests == 0


async def test_a_stranger_is_refused_before_the_message_is_sent() -> None:
    async with connected() as client, raw_connection(client.server.port) as connection:
        connection.open_call(1, x_api_key="wrong")
        await connection.until(STATUS_UNAUTHENTICATED)


async def test_overload_is_told_before_the_message_is_sent() -> None:
    async with connected(SOON, AdmissionLimits(requests_max=1)) as client, raw_connection(client.server.port) as connection:
        with client.parts.admission.admit(1):
            connection.open_call(1)
            answer = await connection.until(STATUS_UNAVAILABLE)
            assert b"grpc-status-details-bin" in answer


async def test_bytes_in_flight_are_bounded_and_overload_is_retryable() -> None:
    limits = AdmissionLimits(bytes_max=2 * OtlpLimits().request_bytes_max, tenant_share_max=1, retry_after_ms=700)
    async with connected(SOON, limits) as client:
        with client.parts.admission.admit(limits.bytes_max - len(HELLO) + 1, TENANT):
            failure = await client.failure()
            assert (failure.code(), retry_ms(failure)) == (grpc.StatusCode.UNAVAILABLE, 700)
            assert "bytes in flight" in str(failure.details())
            assert client.parts.admission.requests == 1
        assert await client.export(HELLO) == b""


async def test_one_tenant_leaves_room_for_the_others() -> None:
    async with connected(SOON, AdmissionLimits(requests_max=4, tenant_share_max=0.5)) as client:
        for other, served in (("another", True), (TENANT, False)):
            with client.parts.admission.admit(1, other), client.parts.admission.admit(1, other):
                if served:
                    assert await client.export(HELLO) == b""
                else:
                    assert "of this account" in str((await client.failure()).details())


async def test_calls_that_outlast_the_grace_of_a_stop_are_told_to_come_back() -> None:
    async with connected(grace_s=0.1) as client:
        client.parts.intake.gate = asyncio.Event()
        call = asyncio.create_task(client.failure(timeout=5))
        await client.parts.intake.entered.wait()
        await client.server.stop()
        assert (await call).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert client.parts.intake.submissions == []


KEYED = mint(KeyKind.TEST, bytes(range(RANDOMNESS_BYTES)))


class Directory:
    """One key; `asked` counts look-ups."""

    asked = 0

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        assert now.tzinfo is UTC
        self.asked += 1
        return KeyRecord(KEYED.key_id, TENANT, KEYED.digest, frozenset({Scope.INGEST})) if key_id == KEYED.key_id else None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": KEYED.text}, STATUS_OK),
        ({"authorization": f"Bearer {KEYED.text}"}, STATUS_OK),
        ({"authorization": f"bearer {KEYED.text}", "x-api-key": KEYED.text}, STATUS_OK),
        ({"authorization": f"Bearer%20{KEYED.text}"}, STATUS_UNAUTHENTICATED),  # senders decode what their settings encode
        ({"x-api-key": KEYED.text.replace("_", "%5F")}, STATUS_UNAUTHENTICATED),
        ({"x-api-key": f"{KEYED.text}, {KEYED.text}"}, STATUS_UNAUTHENTICATED),
        ({"x-api-key": KEYED.text, "authorization": "Bearer other"}, STATUS_UNAUTHENTICATED),
        ({"x-api-key": KEYED.text, "authorization": "Basic eDp5"}, STATUS_UNAUTHENTICATED),
        ({"x-api-key": KEYED.text, "x-api-key-bin": "AP8"}, STATUS_UNAUTHENTICATED),
        ({"authorization": KEYED.text}, STATUS_OK),
        ({"authorization": ""}, STATUS_UNAUTHENTICATED),
        ({"x-api-key": b"\x01\xff\xfe"}, STATUS_UNAUTHENTICATED),
        ({}, STATUS_OK),  # anonymous: from this machine
    ],
    ids=str,
)
async def test_keys_are_taken_exactly(headers: dict[str, str | bytes], status: bytes) -> None:
    access = Access(Directory(), anonymous=Principal(TENANT, frozenset({Scope.INGEST})))
    async with connected(authenticator=IngestAccess(access, lambda: datetime.now(UTC))) as client:
        async with raw_connection(client.server.port) as connection:
            connection.open_headers(1, {name: value for name, value in EXPORT_HEADERS.items() if name != "x-api-key"} | headers)
            connection.writer.write(frame(DATA, END_STREAM, 1, grpc_message(HELLO)))
            await connection.until(status)
        assert len(client.parts.intake.submissions) == (status == STATUS_OK)


async def test_what_can_not_be_a_key_is_looked_up_nowhere() -> None:
    directory = Directory()
    access = IngestAccess(Access(directory, anonymous=None), lambda: datetime.now(UTC))
    async with connected(authenticator=access) as client:
        for key in ("x" * 10_000, "dl_live_", KEYED.text[:-1] + "1", "~ {}"):
            failure = await client.failure(metadata=(("x-api-key", key),))
            assert failure.code() is grpc.StatusCode.UNAUTHENTICATED
    assert directory.asked == 0


async def test_repeated_keys_count_as_one_when_they_are_equal() -> None:
    async with connected() as client:
        seen = client.parts.authenticator.seen
        await client.failure(metadata=(*AUTH, *AUTH))
        assert seen[-1].presented == (AUTH[0][1], AUTH[0][1])


async def test_a_bound_key_writes_to_its_stream_alone() -> None:
    request = logs(log("mine"))
    add_logs(request, log("theirs"), log("theirs"), resource={"service.name": "shop", "service.namespace": "other"})
    add_logs(request, log("chosen"), resource={"service.name": "x", "driftlock.stream_id": "shop"})
    body = request.SerializeToString()
    async with connected() as client:
        client.parts.authenticator.bound = "shop"
        answer = ExportLogsServiceResponse.FromString(await client.export(body)).partial_success
        assert answer.rejected_log_records == 2
        assert "wrong_stream" in answer.error_message
        assert "shop" in answer.error_message
        assert client.parts.intake.lines() == ["mine", "chosen"]
        assert client.parts.meter.counts["logs", "rejected", "wrong_stream"] == 2
        client.parts.authenticator.bound = None  # the same bytes mean more from a sender that is not bound
        assert await client.export(body) == b""
        assert sorted(client.parts.intake.lines()[2:]) == ["chosen", "mine", "theirs", "theirs"]
