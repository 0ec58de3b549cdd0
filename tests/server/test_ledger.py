import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import CapturingLogger

import server.ledger
from driftlock.accounts.metering import UnjournaledTally
from driftlock.errors import Unavailable
from driftlock.storage.ledger import LedgerRow, Unjournaled
from server.ledger import LedgerKeeper, LedgerMetrics
from server.refusals import RefusalLog

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


class MemoryLedger:
    """Keeps what is added; fails while `error` is set, waits for `gate`."""

    def __init__(self) -> None:
        self.added: list[Unjournaled] = []
        self.rows: list[LedgerRow] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.calls = 0

    async def add(self, node: str, rows: Sequence[Unjournaled]) -> None:
        assert node == "here"
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.added += rows

    async def read(self) -> Sequence[LedgerRow]:
        if self.error is not None:
            raise self.error
        return self.rows


class Parts:
    def __init__(self) -> None:
        self.ledger, self.log, self.hurry = MemoryLedger(), CapturingLogger(), asyncio.Event()
        self.tally = UnjournaledTally(tenants_max=2, on_full=self.hurry.set)
        self.registry = CollectorRegistry()
        self.keeper = LedgerKeeper(
            self.ledger,
            self.tally,
            LedgerMetrics(self.registry, by_tenant=True, tenants_max=2),
            RefusalLog(self.log, lambda: 0.0),
            node="here",
            log=self.log,
            hurry=self.hurry,
        )


@pytest.fixture
def parts() -> Parts:
    return Parts()


def row(tenant: UUID, signal: str, received: int, **changes: int) -> LedgerRow:
    entries = {"journaled": received, "metered": received, "in_journal": received}
    zeroes = {"rejected": 0, "refused": 0, "deduplicated": 0, "removed": 0}
    return LedgerRow(
        tenant, "a name that is nobody's business", signal, **{"received": received, **entries, **zeroes, **changes}
    )


def samples(registry: CollectorRegistry) -> dict[str, float]:
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_what_was_added_up_is_written_once(parts: Parts) -> None:
    parts.tally.refused(ONE, "logs", "unavailable", 5)
    parts.tally.rejected(ONE, "logs", "too_deep", 2, journaled=False)
    await parts.keeper.flush()
    await parts.keeper.flush()
    assert parts.ledger.added == [Unjournaled(ONE, "logs", 7, 2, 5)]
    assert parts.ledger.calls == 1


async def test_what_can_not_be_written_is_written_later(parts: Parts) -> None:
    parts.tally.refused(ONE, "logs", "unavailable", 5)
    parts.ledger.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await parts.keeper.flush()
    parts.tally.refused(ONE, "logs", "unavailable", 1)
    parts.ledger.error = None
    await parts.keeper.flush()
    assert parts.ledger.added == [Unjournaled(ONE, "logs", 6, 0, 6)]


async def test_a_write_that_is_cancelled_is_not_forgotten(parts: Parts) -> None:
    parts.ledger.gate = asyncio.Event()
    parts.tally.refused(ONE, "logs", "unavailable", 5)
    writing = asyncio.create_task(parts.keeper.flush())
    await asyncio.sleep(0.01)
    writing.cancel()
    await asyncio.wait([writing])
    assert parts.tally.take() == {(ONE, "logs"): (0, 5)}


async def test_closing_writes_what_is_left(parts: Parts) -> None:
    parts.tally.refused(ONE, "logs", "unavailable", 5)
    await parts.keeper.close()
    assert parts.ledger.added == [Unjournaled(ONE, "logs", 5, 0, 5)]
    assert parts.log.calls == []


async def test_closing_without_a_database_ends_and_says_so(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.ledger, "CLOSE_S", 0.01)
    parts.ledger.gate = asyncio.Event()
    parts.tally.refused(ONE, "logs", "unavailable", 5)
    await asyncio.wait_for(parts.keeper.close(), 5)
    assert [call.args[0] for call in parts.log.calls] == ["refused records of the last seconds are not in the ledger"]


async def test_running_it_writes_and_reads_and_outlives_an_outage(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.ledger, "FLUSH_PERIOD_S", 0.01)
    monkeypatch.setattr(server.ledger, "REFRESH_PERIOD_S", 0.01)
    parts.ledger.error = Unavailable("away")
    parts.tally.refused(ONE, "logs", "unavailable", 5)
    parts.ledger.rows = [row(ONE, "logs", 5)]
    running = asyncio.create_task(parts.keeper.run())
    try:
        async with asyncio.timeout(30):
            while parts.ledger.calls < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(parts.log.calls) == 2  # once for each, however long it lasts
        parts.ledger.error = None
        async with asyncio.timeout(5):
            while not parts.ledger.added or len(samples(parts.registry)) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert parts.ledger.added == [Unjournaled(ONE, "logs", 5, 0, 5)]


async def test_a_full_tally_is_written_early(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.ledger, "HURRY_PAUSE_S", 0.01)
    running = asyncio.create_task(parts.keeper.run())
    try:
        for tenant in (ONE, TWO):
            parts.tally.refused(tenant, "logs", "unavailable", 1)
        async with asyncio.timeout(5):
            while len(parts.ledger.added) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait([running])


def test_tenants_max() -> None:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, by_tenant=True, tenants_max=1)
    metrics.show([row(ONE, "logs", 5), row(TWO, "logs", 50), row(TWO, "traces", 1), row(THREE, "logs", 2)], 1700.0)
    found = samples(registry)
    named = 'driftlock_ledger_records{entry="received",signal="%s",tenant="%s"}'
    assert found[named % ("logs", TWO)] == 50
    assert found[named % ("traces", TWO)] == 1
    assert found[named % ("logs", "_other")] == 7
    assert found["driftlock_ledger_read_timestamp_seconds"] == 1700
    assert not any("nobody's business" in name for name in found)
    metrics.show([row(ONE, "logs", 6)], 1701.0)
    assert {name for name in samples(registry) if "tenant" in name and "received" in name} == {named % ("logs", ONE)}


def test_tenants_are_not_shown_unless_asked_for() -> None:
    registry = CollectorRegistry()
    LedgerMetrics(registry).show([row(ONE, "logs", 5), row(TWO, "logs", 50, metered=49), row(TWO, "traces", 1)], 1700.0)
    found = samples(registry)
    assert not [name for name in found if str(ONE) in name or str(TWO) in name]
    named = 'driftlock_ledger_records{entry="received",signal="%s",tenant="_all"}'
    assert (found[named % "logs"], found[named % "traces"]) == (55, 1)
    assert found['driftlock_ledger_difference_records{law="metered",signal="logs"}'] == 1


def test_broken_laws_do_not_hide_each_other() -> None:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry)
    metrics.show([row(ONE, "logs", 5, metered=6), row(TWO, "logs", 5, metered=4), row(ONE, "traces", 9, removed=2)], 1.0)
    found = samples(registry)
    named = 'driftlock_ledger_difference_records{law="%s",signal="%s"}'
    assert {name: value for name, value in found.items() if "difference" in name and value} == {
        named % ("metered", "logs"): 2,
        named % ("held", "traces"): 2,
    }
    assert found[named % ("received", "metrics")] == 0
