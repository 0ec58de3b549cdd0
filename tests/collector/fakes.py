"""Shipped fakes of the collector's tests: an intake that remembers, a server ready to be called."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from collector.admission import Admission, AdmissionLimits
from collector.auth import Credentials, Sender
from collector.otlp.export import Exporter
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from collector.otlp.grpc_tls import GrpcTls
from collector.otlp.limits import MIB, OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.ports import Receipt, Submission
from driftlock.errors import Unauthenticated
from tests.accounts.counting import CountingMeter

TENANT = UUID("0190aaaa-0000-7000-8000-000000000001")
KEY = "dl_test_0123456789abcdef_secret_crc"
NOW_NS = 1_790_000_000_000_000_000


@dataclass
class MemoryIntake:
    """Keeps submissions; deduplicates by hash as the journal does. Raises `error` while one is set, waits for `gate`.

    `entered` is set as soon as a submission has come in.
    """

    submissions: list[Submission] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    overflowed: int = 0

    async def submit(self, submission: Submission) -> Receipt:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        seq = len(self.submissions) + 1
        known = [kept.request_hash for kept in self.submissions if kept.tenant_id == submission.tenant_id]
        if submission.request_hash is not None and submission.request_hash in known:
            return Receipt(seq - 1, 0, duplicate=True)
        self.submissions.append(submission)
        return Receipt(seq, submission.records, overflowed=self.overflowed)

    def lines(self) -> list[str]:
        return [line.decode() for kept in self.submissions for part in kept.batches for line in part.batch.lines()]


class OneKey:
    """An authenticator that knows KEY; `seen` keeps what was shown."""

    def __init__(self) -> None:
        self.seen: list[Credentials] = []
        self.error: Exception | None = None
        self.bound: str | None = None

    async def sender(self, credentials: Credentials) -> Sender:
        self.seen.append(credentials)
        if self.error is not None:
            raise self.error
        if credentials.presented != (KEY,):
            raise Unauthenticated("send a valid API key")
        return Sender(TENANT, self.bound)


@dataclass
class Bench:
    """An exporter on fakes, with handles on each."""

    exporter: Exporter
    intake: MemoryIntake
    meter: CountingMeter
    authenticator: OneKey
    admission: Admission


@asynccontextmanager
async def bench(
    limits: OtlpLimits | None = None, admission: AdmissionLimits | None = None, gate: Admission | None = None, **other: Any
) -> AsyncIterator[Bench]:
    intake, meter, authenticator = MemoryIntake(), CountingMeter(), OneKey()
    gate = gate or Admission(admission or AdmissionLimits(bytes_max=128 * MIB))
    with ThreadPoolExecutor(2) as executor:
        parts: dict[str, Any] = {
            "intake": intake,
            "authenticator": authenticator,
            "admission": gate,
            "router": ResourceRouter(),
            "redaction": NoRedaction(),
            "limits": limits or OtlpLimits(),
            "meter": meter,
            "executor": executor,
            "now_ns": lambda: NOW_NS,
        }
        yield Bench(Exporter(**parts | other), intake, meter, authenticator, gate)


@asynccontextmanager
async def grpc_bench(
    limits: OtlpLimits | None = None,
    admission: AdmissionLimits | None = None,
    *,
    grpc_limits: GrpcLimits | None = None,
    grace_s: float = 2.0,
    tls: GrpcTls | None = None,
    reflection: bool = False,
    **other: Any,
) -> AsyncIterator[tuple[Bench, OtlpGrpcServer]]:
    made = grpc_limits or GrpcLimits()
    async with bench(limits, admission, **other) as parts:
        server = OtlpGrpcServer(
            parts.exporter, address="127.0.0.1:0", limits=made, grace_s=grace_s, tls=tls, reflection=reflection
        )
        async with server:
            yield parts, server
