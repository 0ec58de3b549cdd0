"""Every way in which a request is refused has a reason of its own, counted once, with the tenant where it is known."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from collector.admission import AdmissionLimits
from collector.auth import Credentials
from collector.otlp.http import HttpLimits, create_app
from collector.otlp.limits import OtlpLimits
from driftlock.accounts.metering import Refusal
from driftlock.engine.event import Signal
from driftlock.errors import (
    Conflict,
    InvalidArgument,
    KeyReused,
    NotFound,
    QuotaExhausted,
    RateLimited,
    Unavailable,
)
from tests.collector.fakes import KEY, TENANT
from tests.collector.otlp_requests import any_value, logs, message
from tests.collector.test_http import HELLO, SMALL, connected

BIG = logs(LogRecord(time_unix_nano=1, body=any_value("x" * 70_000))).SerializeToString()
FLOOD = message(1, message(2, message(2, b"") * 11))
FEW = OtlpLimits(records_max=10)
KNOWN = Credentials((KEY,))
IN_TIME = HttpLimits(body_timeout_ms=20, body_grace_ms=20)


@dataclass(frozen=True)
class Refused:
    """A request, and what it meets here. `known`: its tenant is known by then; `records`: it is decoded by then."""

    reason: Refusal
    body: Any = HELLO
    headers: dict[str, str] = field(default_factory=dict)
    limits: OtlpLimits = SMALL
    http: HttpLimits | None = None
    error: Exception | None = None
    path: str = "/v1/logs"
    known: bool = True
    records: int = 0


async def trickle() -> AsyncIterator[bytes]:
    yield HELLO[:1]
    await asyncio.sleep(0.2)
    yield HELLO[1:]


REFUSED = {
    "declared too large": Refused(Refusal.TOO_LARGE, BIG),
    "a gzip bomb": Refused(Refusal.BOMB, gzip.compress(BIG), {"content_encoding": "gzip"}),
    "a zstd bomb": Refused(Refusal.BOMB, zstandard.compress(BIG), {"content_encoding": "zstd"}),
    "gzip cut off": Refused(Refusal.DAMAGED, gzip.compress(HELLO)[:-9], {"content_encoding": "gzip"}),
    "garbage behind gzip": Refused(Refusal.DAMAGED, gzip.compress(HELLO) + b"x", {"content_encoding": "gzip"}),
    "zstd that is none": Refused(Refusal.DAMAGED, b"nonsense", {"content_encoding": "zstd"}),
    "an unknown coding": Refused(Refusal.UNSUPPORTED_CODING, headers={"content_encoding": "br"}),
    "two codings": Refused(Refusal.UNSUPPORTED_CODING, headers={"content_encoding": "gzip, gzip"}),
    "another type": Refused(Refusal.UNSUPPORTED_TYPE, headers={"content_type": "text/plain"}),
    "no number": Refused(Refusal.BAD_LENGTH, headers={"content_length": "x"}),
    "too slow": Refused(Refusal.TOO_SLOW, trickle, http=IN_TIME),
    "no protobuf": Refused(Refusal.MALFORMED, b"nonsense"),
    "no JSON": Refused(Refusal.MALFORMED, b"nonsense", {"content_type": "application/json"}),
    "too many records": Refused(Refusal.TOO_MANY_RECORDS, FLOOD, limits=FEW),
    "no key": Refused(Refusal.UNAUTHENTICATED, headers={"x_api_key": "wrong"}, known=False),
    "another path": Refused(Refusal.UNKNOWN_PATH, path="/v1/profiles", known=False),
    "no tenant": Refused(Refusal.NO_TENANT, error=NotFound("x"), records=1),
    "a bad value": Refused(Refusal.NOT_STORABLE, error=InvalidArgument("x"), records=1),
    "a key again": Refused(Refusal.KEY_REUSED, error=KeyReused("x"), records=1),
    "no database": Refused(Refusal.UNAVAILABLE, error=Unavailable("x"), records=1),
    "stopping": Refused(Refusal.DRAINING, error=Unavailable("x", reason=Refusal.DRAINING), records=1),
    "taken over": Refused(Refusal.CONFLICT, error=Conflict("x"), records=1),
    "too often": Refused(Refusal.RATE_LIMITED, error=RateLimited("x"), records=1),
    "too much": Refused(Refusal.QUOTA_EXHAUSTED, error=QuotaExhausted("x"), records=1),
    "a bug": Refused(Refusal.INTERNAL, error=KeyError("x"), records=1),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_one_reason(what: str) -> None:
    refused = REFUSED[what]
    async with connected(refused.limits, http=refused.http) as client:
        client.parts.intake.error = refused.error
        body = refused.body() if callable(refused.body) else refused.body
        assert (await client.post(body, refused.path, **refused.headers)).status_code >= 400
        meter = client.parts.meter
        signal = "" if refused.path == "/v1/profiles" else "logs"
        expected = {(signal, "refused", refused.reason.value): 1}
        if refused.records:
            expected |= {("logs", "refused records", refused.reason.value): 1, ("logs", "received", "records"): 1}
        assert meter.counts == expected
        assert meter.tenants == {TENANT if refused.known else None}


async def test_another_method() -> None:
    async with connected() as client:
        assert (await client.client.get("/v1/traces")).status_code == 405
        assert client.parts.meter.counts == {("traces", "refused", "wrong_method"): 1}


async def test_admission_tells_one_account_from_all() -> None:
    for limits, reason in (
        (AdmissionLimits(requests_max=1), "overloaded"),
        (AdmissionLimits(requests_max=4, tenant_share_max=0.25), "account_overloaded"),
    ):
        async with connected(None, limits) as client:
            with client.parts.exporter.admit(Signal.LOGS, 0, await client.parts.authenticator.sender(KNOWN)):
                assert (await client.post()).status_code == 503
            assert client.parts.meter.counts == {("logs", "refused", reason): 1}


async def test_draining() -> None:
    async with connected() as client:
        client.parts.admission.drain()
        assert (await client.post()).status_code == 503
        assert client.parts.meter.counts == {("logs", "refused", "draining"): 1}


async def test_who_hangs_up() -> None:
    async with connected() as client:

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(_: object) -> None:
            pass

        headers = [(b"content-type", b"application/x-protobuf"), (b"x-api-key", KNOWN.presented[0].encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/logs", "headers": headers, "query_string": b""}
        await create_app(client.parts.exporter, HttpLimits())(scope, receive, send)
        assert client.parts.meter.counts == {("logs", "refused", "disconnected"): 1}
