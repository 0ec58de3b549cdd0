"""The contract of ingestion, held against every door of a real server on a real database."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from driftlock.accounts.keys import Scope
from driftlock.engine.event import Signal
from tests.conformance.contract import (
    REQUEST_BYTES_MAX,
    Case,
    Conservation,
    Door,
    Kind,
    Outcome,
    Parcel,
    cases,
    check_outcome,
    expected,
    items,
)
from tests.conformance.doors import ALL, GrpcDoor, HttpDoor, RestDoor
from tests.conformance.site import Site, open_site, rules
from tests.conftest import Cluster

OTLP = (GrpcDoor.name, "http-protobuf", "http-json")
DOORS = (*OTLP, RestDoor.name)
SIGNALS = {**dict.fromkeys(OTLP, ALL), RestDoor.name: RestDoor.signals}
GOOD = Parcel(Signal.LOGS, items(3))
DATABASE_BACK_S = 10.0
module_loop = pytest.mark.asyncio(loop_scope="module")


@module_loop
@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}-{case.name}")
        for name in DOORS
        for case in cases()
        if case.parcel.signal in SIGNALS[name]
    ],
)
async def test_case(site: Site, name: str, case: Case) -> None:
    door: Door = site.doors[name]
    tenant = await site.tenant()
    before = site.counters()
    outcome = await door.send(replace(case.parcel, key=await site.key(tenant)))
    records = len(case.parcel.items) if case.records is None else case.records
    check_outcome(outcome, expected(door, case.name, case.kind), records, case.rejected)
    total = Conservation()
    total.count(outcome, records)
    ledger = await site.ledger(tenant)
    total.check(ledger)
    total.check_counted(await site.counted_since(before, total.refusals), ledger)


@module_loop
@pytest.mark.parametrize(("name", "signal"), [(name, signal) for name in DOORS for signal in sorted(SIGNALS[name])])
async def test_a_resend_is_journaled_once(site: Site, name: str, signal: Signal) -> None:
    door: Door = site.doors[name]
    tenant = await site.tenant()
    parcel = Parcel(signal, items(5), key=await site.key(tenant))
    total = Conservation()
    before = site.counters()
    first = await door.send(parcel)
    total.count(first, 5)
    for again in [await door.send(parcel), *await asyncio.gather(*(door.send(parcel) for _ in range(4)))]:
        check_outcome(again, Kind.ACCEPTED, 5, 0)
        assert again.duplicate in (None, True)
        total.count(again, 5, duplicate=True)
    assert (first.duplicate, total.journaled, total.deduplicated) in ((None, 5, 25), (False, 5, 25))
    total.check(await site.ledger(tenant))
    total.check_counted(await site.counted_since(before, 0), await site.ledger(tenant))
    check_outcome(await door.send(replace(parcel, items=items(6))), Kind.ACCEPTED, 6, 0)
    assert (await site.ledger(tenant)).in_journal == 11


@module_loop
@pytest.mark.parametrize("name", OTLP)
async def test_equal_bytes_without_times_are_two_requests(site: Site, name: str) -> None:
    tenant = await site.tenant()
    parcel = Parcel(Signal.LOGS, tuple(replace(item, time_ns=0) for item in items(2)), key=await site.key(tenant))
    for _ in range(2):
        check_outcome(await site.doors[name].send(parcel), Kind.ACCEPTED, 2, 0)
    assert (await site.ledger(tenant)).in_journal == 4


@module_loop
@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("shown", ["none", "junk", "forged", "revoked tenant"])
async def test_unauthenticated(site: Site, name: str, shown: str) -> None:
    tenant = await site.tenant()
    good = await site.key(tenant)
    forged = good[:30] + ("a" if good[30] != "a" else "b") + good[31:]
    keys = {"none": "", "junk": "let me in", "forged": forged, "revoked tenant": "dl_test_" + "a" * 16}
    outcome = await site.doors[name].send(replace(GOOD, key=keys[shown]))
    check_outcome(outcome, Kind.UNAUTHENTICATED, 3, 0)
    assert (await site.ledger(tenant)).in_journal == 0


@module_loop
@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("scope", [Scope.READ, Scope.ADMIN])
async def test_wrong_scope(site: Site, name: str, scope: Scope) -> None:
    tenant = await site.tenant()
    outcome = await site.doors[name].send(replace(GOOD, key=await site.key(tenant, scope)))
    check_outcome(outcome, Kind.FORBIDDEN, 3, 0)
    assert (await site.ledger(tenant)).in_journal == 0


@module_loop
@pytest.mark.parametrize("name", DOORS)
async def test_a_damaged_request_without_a_key_learns_nothing(site: Site, name: str) -> None:
    for case in cases():
        if case.name in ("malformed-logs", "flood", "partial-logs"):
            check_outcome(await site.doors[name].send(case.parcel), Kind.UNAUTHENTICATED, 3, 0)


@module_loop
@pytest.mark.parametrize("name", DOORS)
async def test_tenants_do_not_meet(site: Site, name: str) -> None:
    one, two = await site.tenant(), await site.tenant()
    for tenant in (one, two):
        outcome = await site.doors[name].send(replace(GOOD, key=await site.key(tenant)))
        assert outcome.duplicate in (None, False)  # equal bytes of another tenant are another request
    assert [(await site.ledger(tenant)).in_journal for tenant in (one, two)] == [3, 3]


@module_loop
@pytest.mark.parametrize("name", DOORS)
async def test_a_key_bound_to_a_stream_writes_to_no_other(site: Site, name: str) -> None:
    door: Door = site.doors[name]
    tenant = await site.tenant()
    key = await site.key(tenant, stream="mine")
    total = Conservation()
    outcome = await door.send(replace(GOOD, service="another", key=key))
    check_outcome(outcome, expected(door, "wrong-stream", Kind.PARTIAL), 3, 3)
    assert "bound" in outcome.message
    total.count(outcome, 3)
    outcome = await door.send(replace(GOOD, service="mine", key=key))
    check_outcome(outcome, Kind.ACCEPTED, 3, 0)
    total.count(outcome, 3)
    total.check(await site.ledger(tenant))
    assert await site.streams(tenant) == ["mine"]


@module_loop
@pytest.mark.parametrize("name", OTLP)
async def test_a_sender_without_a_service_name_is_told_so_once(site: Site, name: str) -> None:
    tenant = await site.tenant()
    parcel = replace(GOOD, service="", key=await site.key(tenant))
    outcome = await site.doors[name].send(parcel)
    assert (outcome.kind, outcome.rejected) == (Kind.PARTIAL, 0)
    assert "service.name" in outcome.message
    for count in (1, 2):
        check_outcome(await site.doors[name].send(replace(parcel, items=items(count))), Kind.ACCEPTED, count, 0)
    assert (await site.ledger(tenant)).in_journal == 6
    assert await site.streams(tenant) == ["unknown_service"]


@module_loop
@pytest.mark.parametrize("name", OTLP)
async def test_rules_of_routing_hold(site: Site, name: str) -> None:
    tenant = await site.tenant()
    parcel = replace(GOOD, service="ruled", key=await site.key(tenant))
    for signal in Signal:
        check_outcome(await site.doors[name].send(replace(parcel, signal=signal)), Kind.ACCEPTED, 3, 0)
    assert await site.streams(tenant) == ["by-rule"] * 3


@contextlib.asynccontextmanager
async def full_gate(site: Site, key: str):  # type: ignore[no-untyped-def]
    """Connections that announce the largest request and then say nothing, until the gate lets no more in."""
    assert site.listening.otlp_http is not None
    address = site.listening.otlp_http
    head = (
        f"POST /v1/logs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/x-protobuf\r\n"
        f"content-length: {REQUEST_BYTES_MAX}\r\n\r\n"
    )
    writers = []
    try:
        for _ in range(64):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writers.append(writer)
            writer.write(head.encode())
            await writer.drain()
            try:
                answer = await asyncio.wait_for(reader.read(1000), 0.15)
            except TimeoutError:
                continue
            assert b" 503 " in answer.split(b"\r\n")[0]
            break
        else:
            raise AssertionError("the gate never closed")
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


@module_loop
async def test_admission(site: Site) -> None:
    tenant = await site.tenant()
    key = await site.key(tenant)
    total = Conservation()
    async with full_gate(site, key):
        for name in DOORS:
            outcome = await site.doors[name].send(replace(GOOD, service=name, key=key))
            check_outcome(outcome, expected(site.doors[name], "admission", Kind.RETRYABLE), 3, 0)
            total.count(outcome, 3)
    for name in DOORS:  # all of it is given back
        outcome = await until_accepted(site.doors[name], replace(GOOD, service=f"{name} again", key=key))
        total.count(outcome, 3)
    total.check(await site.ledger(tenant))


async def until_accepted(door: Door, parcel: Parcel) -> Outcome:
    """The first answer that is not `retryable`."""
    end_s = asyncio.get_running_loop().time() + DATABASE_BACK_S
    outcome = await door.send(parcel)
    while outcome.kind is Kind.RETRYABLE and asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(0.05)
        outcome = await door.send(parcel)
    check_outcome(outcome, Kind.ACCEPTED, len(parcel.items), 0)
    return outcome


@module_loop
async def test_the_database_goes_away_and_comes_back(site: Site) -> None:
    tenant = await site.tenant()
    key = await site.key(tenant)
    total = Conservation()
    for name in DOORS:
        total.count(await until_accepted(site.doors[name], replace(GOOD, service=name, key=key)), 3)
    site.wire.cut()
    try:
        for name in DOORS:
            began = asyncio.get_running_loop().time()
            outcome = await site.doors[name].send(replace(GOOD, service=f"{name} away", key=key))
            assert asyncio.get_running_loop().time() - began < 5
            check_outcome(outcome, Kind.RETRYABLE, 3, 0)
            total.count(outcome, 3)
    finally:
        site.wire.mend()
    for name in DOORS:
        total.count(await until_accepted(site.doors[name], replace(GOOD, service=f"{name} away", key=key)), 3)
    total.check(await site.ledger(tenant))


@module_loop
async def test_draining(cluster: Cluster, tmp_path: Path) -> None:
    urls = await cluster.create()
    async with open_site(urls, rules(tmp_path)) as site:
        tenant = await site.tenant()
        key = await site.key(tenant)
        total = Conservation()
        for name in DOORS:
            total.count(await until_accepted(site.doors[name], replace(GOOD, service=name, key=key)), 3)
        await site.listening.drain()
        for name in DOORS:
            outcome = await site.doors[name].send(replace(GOOD, service=f"{name} late", key=key))
            check_outcome(outcome, expected(site.doors[name], "draining", Kind.RETRYABLE), 3, 0)
            total.count(outcome, 3)
        total.check(await site.ledger(tenant))
    await cluster.drop(urls)


def test_every_difference_is_of_a_case() -> None:
    known = {case.name for case in cases()} | {case.name.rpartition("-")[0] for case in cases()}
    known |= {"admission", "draining", "wrong-stream"}
    for door in (GrpcDoor, RestDoor):
        assert set(door.differs) <= known
        assert all(differs.why for differs in door.differs.values())
    assert HttpDoor.signals == ALL
