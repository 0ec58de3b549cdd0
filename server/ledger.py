"""The ledger of a serving process: what never reached the journal is written down, and what the ledger says is published."""

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge
from structlog.typing import FilteringBoundLogger

from driftlock.accounts.metering import IngestMeter, IngestMeters, UnjournaledTally
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError
from driftlock.storage.ledger import LedgerRow, Ledgers, Unjournaled
from driftlock.storage.pool import Database
from server.ingest_metrics import IngestCounters
from server.refusals import RefusalLog
from server.telemetry import Telemetry

FLUSH_PERIOD_S = 10.0
REFRESH_PERIOD_S = 30.0
REFRESH_SHARE_MAX = 0.05
"""How much of the time may go into reading the ledger; where reading it takes long, it is read more seldom."""
HURRY_PAUSE_S = 1.0
CLOSE_S = 1.0
TENANTS_MAX = 100
OTHERS = "_other"
ALL = "_all"
ENTRIES = ("received", "journaled", "rejected", "refused", "deduplicated", "metered", "in_journal", "removed")
LAWS = ("received", "metered", "held")


class Ledger(Protocol):
    """Where it stands (`driftlock.storage.ledger.Ledgers`)."""

    async def add(self, node: str, rows: Sequence[Unjournaled]) -> None:
        """Add what never reached the journal; raises `DriftlockError`."""
        ...

    async def read(self) -> Sequence[LedgerRow]:
        """All rows, as of one moment; raises `DriftlockError`."""
        ...


class LedgerMetrics:
    """The ledger as gauges: its entries, and by how much its laws are broken.

    Whoever collects metrics shows no key, so all tenants are added up as `_all`, unless `by_tenant`: then at most `tenants_max`
    of them, those with the most records, stand apart by their ids, and the rest as `_other`. The differences are of all
    tenants, without regard to sign, so that two of them can not hide each other.
    """

    def __init__(self, registry: CollectorRegistry, *, by_tenant: bool = False, tenants_max: int = TENANTS_MAX) -> None:
        self._tenants_max = tenants_max if by_tenant else 0
        self._together = OTHERS if by_tenant else ALL
        self._records = Gauge(
            "driftlock_ledger_records",
            "What became of all records that were ever received, from the database.",
            ["tenant", "signal", "entry"],
            registry=registry,
        )
        self._differences = Gauge(
            "driftlock_ledger_difference_records",
            "By how many records a law of the ledger is broken: 0, or records were lost or counted twice.",
            ["signal", "law"],
            registry=registry,
        )
        self._read = Gauge(
            "driftlock_ledger_read_timestamp_seconds", "When the ledger was read last (Unix time).", registry=registry
        )

    def show(self, rows: Iterable[LedgerRow], now_s: float) -> None:
        """Publish `rows` in place of what was published before; `now_s` is the Unix time."""
        known = list(rows)
        received: dict[str, int] = defaultdict(int)
        for row in known:
            received[str(row.tenant_id)] += row.received
        apart = set(sorted(received, key=lambda tenant: (-received[tenant], tenant))[: self._tenants_max])
        entries: dict[tuple[str, str, str], int] = defaultdict(int)
        differences = dict.fromkeys(((signal.value, law) for signal in Signal for law in LAWS), 0)
        for row in known:
            tenant = str(row.tenant_id)
            for entry in ENTRIES:
                entries[tenant if tenant in apart else self._together, row.signal, entry] += getattr(row, entry)
            for law, difference in row.differences.items():
                differences[row.signal, law] += abs(difference)
        self._records.clear()
        for labels, records in entries.items():
            self._records.labels(*labels).set(records)
        for pair, difference in differences.items():
            self._differences.labels(*pair).set(difference)
        self._read.set(now_s)


class LedgerKeeper:
    """Writes down what `tally` adds up, as `node`, and reads the ledger for `metrics`.

    What can not be written stays in the tally until the next time. A write whose answer was lost is repeated: its records are
    then counted twice as received and twice as refused, which keeps the law.
    """

    def __init__(
        self,
        ledger: Ledger,
        tally: UnjournaledTally,
        metrics: LedgerMetrics,
        refusals: RefusalLog,
        *,
        node: str,
        log: FilteringBoundLogger,
        hurry: asyncio.Event,
    ) -> None:
        """`hurry` is set by the tally when it has no room for more tenants."""
        self._ledger, self._tally, self._metrics, self._refusals = ledger, tally, metrics, refusals
        self._node, self._log, self._hurry = node, log, hurry
        self._told: set[str] = set()

    async def run(self) -> None:
        """Keep the ledger for ever: one task writes, the other reads, neither waits for the other."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._publish())

    async def flush(self) -> None:
        """Write down what was added up; raises `DriftlockError`, and then nothing is forgotten."""
        counts = self._tally.take()
        if not counts:
            return
        rows = [
            Unjournaled(tenant_id, signal, rejected + refused, rejected, refused)
            for (tenant_id, signal), (rejected, refused) in counts.items()
        ]
        try:
            await self._ledger.add(self._node, rows)
        except BaseException:
            self._tally.put_back(counts)
            raise

    async def refresh(self) -> None:
        """Read the ledger and publish it; raises `DriftlockError`."""
        self._metrics.show(await self._ledger.read(), time.time())

    async def close(self) -> None:
        """Write down and tell what is left, within `CLOSE_S`; what can not be written is lost on both sides of the law."""
        self._refusals.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.flush()
        except (DriftlockError, TimeoutError) as error:
            self._log.warning("refused records of the last seconds are not in the ledger", why=str(error))

    async def _write(self) -> None:
        while True:
            try:
                async with asyncio.timeout(FLUSH_PERIOD_S):
                    await self._hurry.wait()
                await asyncio.sleep(HURRY_PAUSE_S)  # not again and again while the database is away and the tally full
            except TimeoutError:
                pass
            self._hurry.clear()
            self._refusals.tick()
            try:
                await self.flush()
                self._told.discard("write")
            except DriftlockError as error:
                self._tell("write", error)

    async def _publish(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                await self.refresh()
                self._told.discard("read")
            except DriftlockError as error:
                self._tell("read", error)
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(REFRESH_PERIOD_S, took_s / REFRESH_SHARE_MAX))

    def _tell(self, what: str, error: DriftlockError) -> None:
        """Once an outage."""
        if what not in self._told:
            self._told.add(what)
            self._log.warning(f"the ledger can not be {'written' if what == 'write' else 'read'} now", why=error.message)


def keep_ledger(
    database: Database, telemetry: Telemetry, log: FilteringBoundLogger, *, by_tenant: bool
) -> tuple[IngestMeter, LedgerKeeper]:
    """What all doors count with, and the keeper of what they counted; its `close` is for when no door is open any more.

    `by_tenant`: whether metrics show ids of tenants.
    """
    hurry = asyncio.Event()
    tally = UnjournaledTally(on_full=hurry.set)
    refusals = RefusalLog(log, time.monotonic)
    telemetry.gauge(
        "ledger_dropped_records",
        "Refused records that are not in the ledger, because too many tenants had some while it could not be written.",
        lambda: tally.dropped_records,
    )
    metrics = LedgerMetrics(telemetry.registry, by_tenant=by_tenant)
    keeper = LedgerKeeper(Ledgers(database), tally, metrics, refusals, node=socket.gethostname(), log=log, hurry=hurry)
    return IngestMeters(IngestCounters(telemetry.registry), tally, refusals), keeper
