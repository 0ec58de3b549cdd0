"""Every error has its status; retryable ones and no others carry RetryInfo; nothing becomes UNKNOWN or shows its text."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import grpc
import grpc.aio
import pytest

from collector.admission import Admission, AdmissionLimits
from collector.auth import Credentials, Sender
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from collector.otlp.limits import OtlpLimits
from driftlock import errors
from driftlock.engine.event import Signal
from driftlock.engine.ports import Receipt, Submission
from driftlock.errors import Code, DriftlockError, QuotaExhausted, RateLimited, Unavailable
from tests.collector.fakes import KEY, MemoryIntake, OneKey, bench
from tests.collector.grpc_calls import HELLO, connected, retry_ms

RETRY, FINAL = True, False
# OTLP specification, "Failures": which of these a client may send again; RESOURCE_EXHAUSTED only with RetryInfo.
STATUS = {
    Code.INVALID_ARGUMENT: (grpc.StatusCode.INVALID_ARGUMENT, FINAL),
    Code.PAYLOAD_TOO_LARGE: (grpc.StatusCode.RESOURCE_EXHAUSTED, FINAL),
    Code.UNSUPPORTED_ENCODING: (grpc.StatusCode.UNIMPLEMENTED, FINAL),
    Code.IDEMPOTENCY_KEY_REUSED: (grpc.StatusCode.INVALID_ARGUMENT, FINAL),
    Code.UNAUTHORIZED: (grpc.StatusCode.UNAUTHENTICATED, FINAL),
    Code.FORBIDDEN: (grpc.StatusCode.PERMISSION_DENIED, FINAL),
    Code.EMAIL_UNVERIFIED: (grpc.StatusCode.PERMISSION_DENIED, FINAL),
    Code.SIGN_IN_AGAIN: (grpc.StatusCode.PERMISSION_DENIED, FINAL),
    Code.ORIGIN_NOT_ALLOWED: (grpc.StatusCode.PERMISSION_DENIED, FINAL),
    Code.NOT_FOUND: (grpc.StatusCode.NOT_FOUND, FINAL),
    Code.EVIDENCE_EXPIRED: (grpc.StatusCode.NOT_FOUND, FINAL),
    Code.CONFLICT: (grpc.StatusCode.UNAVAILABLE, RETRY),
    Code.PRECONDITION_FAILED: (grpc.StatusCode.FAILED_PRECONDITION, FINAL),
    Code.RATE_LIMITED: (grpc.StatusCode.UNAVAILABLE, RETRY),
    Code.QUOTA_EXHAUSTED: (grpc.StatusCode.RESOURCE_EXHAUSTED, FINAL),
    Code.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, RETRY),
    Code.INTERNAL: (grpc.StatusCode.INTERNAL, FINAL),
}


def error_class(code: Code) -> type[DriftlockError]:
    """The class that stands for `code`."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DriftlockError)]
    return next(kind for kind in kinds if kind is not DriftlockError and vars(kind).get("code") is code)


def test_the_table_is_whole() -> None:
    assert set(STATUS) == set(Code)


@pytest.mark.parametrize("place", ["intake", "authenticator"])
async def test_every_error_has_its_status_and_hint(place: str) -> None:
    async with connected() as client:
        for number, (code, (status, retryable)) in enumerate(STATUS.items(), 1):
            getattr(client.parts, place).error = error_class(code)(f"no: {code}")
            failure = await client.failure()
            assert (failure.code(), failure.details()) == (status, f"no: {code}")
            assert (retry_ms(failure) is not None) is retryable
            assert sum(count for (_, what, _), count in client.parts.meter.counts.items() if what == "refused") == number
        assert client.parts.admission.requests == 0


@pytest.mark.parametrize(
    ("error", "wait_ms"),
    [
        (Unavailable("the database is away", retry_after_ms=2500), 2500),
        (Unavailable("no hint"), 1000),
        (RateLimited("slower", retry_after_ms=61_001), 61_001),
        (QuotaExhausted("until the first", retry_after_ms=5), None),
    ],
)
async def test_hints_arrive_in_milliseconds(error: DriftlockError, wait_ms: int | None) -> None:
    async with connected() as client:
        client.parts.intake.error = error
        assert retry_ms(await client.failure()) == wait_ms


async def test_texts_of_any_kind_arrive() -> None:
    async with connected() as client:
        client.parts.intake.error = Unavailable("naïve ☃ 100 %\n")
        assert (await client.failure()).details() == "naïve ☃ 100 %\n"


class Ended(Exception):
    """What grpc's `abort` raises in the handler."""


class Awaits:
    """All that a call awaits, in one: raises `error` at the `fails_at`-th of them (0 = never)."""

    def __init__(self, fails_at: int, error: BaseException | None) -> None:
        self.fails_at, self.error, self.count = fails_at, error, 0

    async def point(self) -> None:
        self.count += 1
        await asyncio.sleep(0)
        if self.count == self.fails_at and self.error is not None:
            raise self.error


class FaultyContext:
    """A call of grpc.aio, with its message."""

    def __init__(self, awaits: Awaits) -> None:
        self.awaits = awaits
        self.aborted: tuple[grpc.StatusCode, str] | None = None

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return (("x-api-key", KEY),)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def read(self) -> bytes:
        await self.awaits.point()
        return HELLO

    async def abort(self, code: grpc.StatusCode, details: str, _: object) -> None:
        self.aborted = (code, details)
        raise Ended


class FaultyKey(OneKey):
    def __init__(self, awaits: Awaits) -> None:
        super().__init__()
        self.awaits = awaits

    async def sender(self, credentials: Credentials) -> Sender:
        await self.awaits.point()
        return await super().sender(credentials)


class FaultyIntake(MemoryIntake):
    awaits: Awaits

    async def submit(self, submission: Submission) -> Receipt:
        await self.awaits.point()
        receipt = await super().submit(submission)
        await self.awaits.point()  # committed, and the answer is lost
        return receipt


class FaultyExecutor(Executor):
    def __init__(self, awaits: Awaits) -> None:
        self.awaits = awaits

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.awaits.count += 1
        if self.awaits.count == self.awaits.fails_at and self.awaits.error is not None:
            future.set_exception(self.awaits.error)
        else:
            future.set_result(call(*arguments, **options))
        return future


async def call_with_fault(fails_at: int, error: BaseException | None) -> tuple[int, FaultyContext, Any]:
    """One call whose `fails_at`-th await fails; -> number of awaits, what the client is told, the parts."""
    awaits = Awaits(fails_at, error)
    intake = FaultyIntake()
    intake.awaits = awaits
    parts: dict[str, Any] = {
        "authenticator": FaultyKey(awaits),
        "intake": intake,
        "executor": FaultyExecutor(awaits),
        "limits": OtlpLimits(inline_bytes_max=0),
    }
    context: Any = FaultyContext(awaits)
    async with bench(**parts) as made:
        server = OtlpGrpcServer(made.exporter, address="127.0.0.1:0", limits=GrpcLimits())
        try:
            answer = await server._handler(Signal.LOGS)(None, context)
            assert context.aborted is None
            assert answer == b""
        except Ended:
            assert context.aborted is not None
        await made.exporter.settle(1)
        return awaits.count, context, made


AWAITS = 5  # key, message, thread, commit, its answer


async def test_a_call_awaits_so_often() -> None:
    count, context, _ = await call_with_fault(0, None)
    assert (count, context.aborted) == (AWAITS, None)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret"),
        OSError(5, "secret"),
        TimeoutError("secret"),
        ValueError("secret"),
        KeyError("secret"),
        MemoryError("secret"),
        UnicodeDecodeError("utf-8", b"secret", 0, 1, "secret"),
        grpc.RpcError("secret"),
        ExceptionGroup("secret", [RuntimeError("secret")]),
        asyncio.CancelledError("secret"),
        Unavailable("away"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("fails_at", range(1, AWAITS + 1))
async def test_a_fault_at_any_await_has_a_status_and_shows_nothing(fails_at: int, error: BaseException) -> None:
    _, context, parts = await call_with_fault(fails_at, error)
    assert context.aborted is not None
    code, details = context.aborted
    transient = isinstance(error, Unavailable | asyncio.CancelledError | MemoryError)
    assert code is (grpc.StatusCode.UNAVAILABLE if transient else grpc.StatusCode.INTERNAL)
    assert "secret" not in details
    assert (parts.admission.requests, parts.admission.bytes) == (0, 0)
    refused = [key for key in parts.meter.counts if key[1] == "refused"]
    assert len(refused) == 1
    assert parts.meter.counts[refused[0]] == 1


@pytest.mark.parametrize("place", ["now_ns", "router"])
async def test_no_bug_in_the_middle_becomes_unknown(place: str) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("secret")

    class Broken:
        route = staticmethod(broken)

    other: dict[str, Any] = {"now_ns": {"now_ns": broken}, "router": {"router": Broken()}}[place]
    async with connected(**other) as client:
        failure = await client.failure()
        assert failure.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(failure.details())
        assert client.parts.meter.counts == {("logs", "refused", "internal"): 1}


async def test_something_cancelled_inside_is_answered_and_not_left_open() -> None:
    """grpc.aio sends nothing at all when a handler ends as cancelled: the client would wait for ever."""
    async with connected() as client:
        client.parts.authenticator.error = asyncio.CancelledError()  # type: ignore[assignment]
        failure = await client.failure(timeout=5)
        assert (failure.code(), retry_ms(failure)) == (grpc.StatusCode.UNAVAILABLE, 1000)


async def test_hints_are_spread() -> None:
    numbers = iter([0.0, 0.25, 0.5])
    gate = Admission(AdmissionLimits(requests_max=1, retry_after_ms=400, retry_jitter_ms=200), lambda: next(numbers))
    async with connected(gate=gate) as client:
        with gate.admit(1):
            waits = [retry_ms(await client.failure()) for _ in range(3)]
        assert waits == [400, 450, 500]
