"""A sender that makes up a new service for each record: rows and memory stay bounded, and every record is kept."""

import os
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from driftlock.engine.event import Signal
from tests.collector.otlp_requests import T0, add_logs, log
from tests.conformance.contract import Conservation, Kind, Ledger, Outcome
from tests.conformance.doors import GrpcDoor
from tests.conformance.site import Site

STREAMS_MAX = 40
NAMES, NAMES_A_REQUEST = 20_000, 2000
GROWTH_BYTES_MAX = 64 * 1024 * 1024


def resident_bytes() -> int:
    """Memory of this process, in which the server runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.asyncio(loop_scope="module")
async def test_rows_and_memory_are_bounded(site: Site) -> None:
    tenant = await site.tenant()
    key = await site.key(tenant)
    await site.owner.execute("update driftlock.tenants set streams_max = $2 where id = $1", tenant, STREAMS_MAX)
    door: GrpcDoor = site.doors["grpc"]
    overflowed = site.counted("altered", Signal.LOGS)
    total = Conservation()
    grown_from = 0
    for first in range(0, NAMES, NAMES_A_REQUEST):
        outcome = await door.send_raw(Signal.LOGS, request(range(first, first + NAMES_A_REQUEST)), key)
        assert outcome == Outcome(Kind.PARTIAL, rejected=0, message=outcome.message)
        assert "_overflow" in outcome.message
        total.count(outcome, NAMES_A_REQUEST)
        grown_from = grown_from or resident_bytes()
    assert resident_bytes() - grown_from <= GROWTH_BYTES_MAX
    rows = await site.owner.fetch("select service, overflow from driftlock.streams where tenant_id = $1", tenant)
    assert len(rows) == STREAMS_MAX + 1
    assert [row["service"] for row in rows if row["overflow"]] == ["_overflow"]
    assert await site.ledger(tenant) == Ledger(NAMES, NAMES, NAMES, NAMES)
    total.check(await site.ledger(tenant))
    assert site.counted("altered", Signal.LOGS) - overflowed == NAMES - STREAMS_MAX


def request(numbers: range) -> bytes:
    """One record of each of so many services."""
    made = ExportLogsServiceRequest()
    for number in numbers:
        add_logs(made, log(f"order {number}", T0 + number), resource={"service.name": f"service-{number}-of-a-flood"})
    data: bytes = made.SerializeToString()
    return data
