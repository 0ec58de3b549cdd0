"""Half an hour at half of the capacity, with a fault every 20 seconds: nothing that the server takes may keep growing."""

import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg

from tests.chaos.cluster import blocking
from tests.chaos.refold import ledger_differences
from tests.chaos.scenarios.lean_tail import LeanTail
from tests.chaos.scenarios.report import Report, quantile
from tests.chaos.scenarios.soak_samples import (
    GrowthLimits,
    Sample,
    database_levels,
    judge,
    levels,
    table,
    to_json,
)
from tests.chaos.scenarios.watching import taken
from tests.chaos.scene import Site, open_site
from tests.e2e.harness import ROOT

RESULTS = ROOT / "bench" / "results" / "soak.json"
CLIENTS, SERVICES, RECORDS = 16, 8, 20
CUT_S, FROZEN_S = 2.0, 3.0
APPEND = b"driftlock.journal_append"
TENANT_WINDOW_NS = 60 * 10**9
JOURNAL_BYTES_MAX = "64MiB"
"""A small journal and a short deduplication window, so that their tables are as large as they get after minutes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: of the whole, of measuring the capacity, between faults, between samples, between writing results."""

    total_s: float = 30 * 60.0
    capacity_s: float = 60.0
    fault_s: float = 20.0
    sample_s: float = 5.0
    write_s: float = 60.0
    load_share: float = 0.5


@dataclass
class Soak:
    """What a soak has seen so far."""

    site: Site
    pace: Pace
    began_s: float
    limits: GrowthLimits
    samples: list[Sample] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[float] = field(default_factory=list)
    life: int = 1
    capacity_per_s: float = 0.0
    load_per_s: float = 0.0
    finished: bool = False

    @property
    def at_s(self) -> float:
        """Seconds since the soak began."""
        return time.monotonic() - self.began_s

    def json(self, report: Report | None = None) -> dict[str, object]:
        """The results so far."""
        found: dict[str, object] = {
            "finished": self.finished,
            "seconds": round(self.at_s),
            "capacity_records_per_s": round(self.capacity_per_s),
            "load_records_per_s": round(self.load_per_s),
            "records_acknowledged": sum(self.site.clients.acked.values()),
            "answers": dict(self.site.clients.statuses),
            "faults": dict(self.faults),
            "recovery_s": {f"p{share * 100:.0f}": round(quantile(self.recoveries_s, share), 3) for share in (0.5, 0.99, 1.0)},
            "limits": asdict(self.limits),
            "violations": judge(self.samples, self.limits) if report is None else report.violations,
        }
        if len(self.samples) >= 3:
            found["levels"] = {level.name: asdict(level) | {"growth": level.growth} for level in levels(self.samples)}
        found["samples"] = to_json(self.samples)
        return found


def soak(
    folder: Path, *, pace: Pace | None = None, limits: GrowthLimits | None = None, results: Path | None = RESULTS
) -> Report:
    """Run it; `results` is rewritten every minute, so that an interrupted soak leaves what it has seen."""
    pace, limits = pace or Pace(), limits or GrowthLimits()
    report = Report("soak", {"seconds": pace.total_s})
    with open_site(
        folder, clients=CLIENTS, services=SERVICES, records=RECORDS, warm=False, DRIFTLOCK_JOURNAL_BYTES_MAX=JOURNAL_BYTES_MAX
    ) as site:
        with _lean_tail(site), site.clients:
            site.cluster.query("update driftlock.tenants set dedup_window_ns = $1", TENANT_WINDOW_NS)
            run = Soak(site, pace, time.monotonic(), limits)
            try:
                _capacity(run)
                _run(run, results)
            finally:
                _write(results, run)
            _finish(run, report)
        run.finished = True
        _write(results, run, report)
    return report


@contextlib.contextmanager
def _lean_tail(site: Site) -> Iterator[None]:
    """Read the journal with a tail that keeps little, instead of the site's."""
    site.tail.__exit__(None, None, None)
    with LeanTail(site.cluster.app_dsn) as tail:
        site.tail = tail
        yield


def _capacity(run: Soak) -> None:
    """Acknowledged records a second when nobody rests; then let the clients rest so that the load is a share of that."""
    clients = run.site.clients
    clients.rest_s = 0.0
    clients.wait_for_acks(CLIENTS)
    before, began = clients.acknowledgements, time.monotonic()
    while time.monotonic() < began + run.pace.capacity_s:
        time.sleep(min(0.5, run.pace.capacity_s))
        _sample_when_due(run)
    run.capacity_per_s = (clients.acknowledgements - before) * RECORDS / (time.monotonic() - began)
    per_client = run.capacity_per_s * run.pace.load_share / RECORDS / CLIENTS
    clients.rest_s = 1 / per_client if per_client else 0.0


def _run(run: Soak, results: Path | None) -> None:
    clients, pace = run.site.clients, run.pace
    faults = itertools.cycle(FAULTS.items())
    next_fault_s, next_write_s = run.at_s + pace.fault_s, 0.0
    before, began = clients.acknowledgements, run.at_s
    while run.at_s < pace.total_s:
        if run.at_s >= next_fault_s:
            name, fault = next(faults)
            if name == "kill -9" and _is_long_life(run):
                name, fault = next(faults)
            clients.wait_for_acks(1)
            fault(run)
            run.recoveries_s.append(clients.wait_for_acks(CLIENTS))
            run.faults[name] += 1
            next_fault_s += pace.fault_s
        _sample_when_due(run)
        run.load_per_s = (clients.acknowledgements - before) * RECORDS / max(0.1, run.at_s - began)
        _steer(run)
        if run.at_s >= next_write_s:
            _write(results, run)
            next_write_s = run.at_s + pace.write_s
        time.sleep(0.1)


def _is_long_life(run: Soak) -> bool:
    """In the middle third the server is left alive, so that a leak has time to show."""
    return run.pace.total_s / 3 <= run.at_s < run.pace.total_s * 2 / 3


def _steer(run: Soak) -> None:
    """Rests that are longer or shorter by a little, towards the load that is wanted."""
    wanted = run.capacity_per_s * run.pace.load_share
    if run.load_per_s and wanted:
        run.site.clients.rest_s = max(0.001, run.site.clients.rest_s * (1 + 0.02 * (run.load_per_s / wanted - 1)))


def _sample_when_due(run: Soak) -> None:
    if run.samples and run.at_s < run.samples[-1].at_s + run.pace.sample_s:
        return
    process = taken(run.site.node.running.pid)
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        found = blocking(lambda: database_levels(run.site.cluster.owner_dsn))
        if process is not None:
            own = (process.resident_bytes, process.descriptors, process.threads)
            run.samples.append(Sample(run.at_s, run.life, *own, **found))


def _finish(run: Soak, report: Report) -> None:
    site = run.site
    last = site.settle()
    site.tail.finish(last)
    verdict, ledger = site.tail.check(site.clients.acked), ledger_differences(site.cluster.owner_dsn)
    report.figures |= {
        "capacity records/s": run.capacity_per_s,
        "load records/s": run.load_per_s,
        "records acknowledged": sum(site.clients.acked.values()),
        "answers": str(dict(site.clients.statuses)),
        "faults": str(dict(run.faults)),
        "first acknowledgement of each client after a fault, median / max s": (
            f"{quantile(run.recoveries_s, 0.5):.2f} / {max(run.recoveries_s, default=0.0):.2f}"
        ),
        "samples": len(run.samples),
        "end": f"{verdict.line}  journaled {verdict.records}  ledger {'holds' if not ledger else '; '.join(ledger)}",
    }
    if len(run.samples) >= 3:
        report.figures["levels"] = "\n" + table(run.samples)
    report.violations += judge(run.samples, run.limits)
    report.require(verdict.clean, f"{verdict.line} {' '.join(verdict.samples)}")
    report.require(not ledger, f"the ledger does not add up: {'; '.join(ledger)}")
    report.require(not site.clients.not_retryable, f"answers that let clients drop data: {site.clients.not_retryable}")
    report.require(bool(run.faults), "no fault was injected: this has tested nothing")


def _write(results: Path | None, run: Soak, report: Report | None = None) -> None:
    if results is not None:
        temporary = results.with_suffix(".tmp")
        temporary.write_text(json.dumps(run.json(report)) + "\n")
        temporary.replace(results)


def _kill(run: Soak) -> None:
    run.site.node.kill()
    run.life += 1
    run.site.node.start()


def _backend(run: Soak) -> None:
    run.site.cluster.kill_backend(run.site.rng)


def _cut(run: Soak) -> None:
    run.site.link.cut()
    time.sleep(CUT_S)
    run.site.link.mend()


def _lost_answer(run: Soak) -> None:
    lost, end = run.site.link.lost_answers, time.monotonic() + 10
    run.site.link.lose_answer_to(APPEND)
    while run.site.link.lost_answers == lost and time.monotonic() < end:
        time.sleep(0.01)


def _freeze(run: Soak) -> None:
    run.site.node.freeze()
    time.sleep(FROZEN_S)
    run.site.node.thaw()


FAULTS: Mapping[str, Callable[[Soak], None]] = {
    "kill -9": _kill,
    "backend kill": _backend,
    "link cut": _cut,
    "lost answer": _lost_answer,
    "SIGSTOP": _freeze,
}
