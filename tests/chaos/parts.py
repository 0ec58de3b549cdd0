"""The parts of `make chaos`: each a site of its own, a number of faults, and everything compared at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import faults
from tests.chaos.refold import stored
from tests.chaos.scenarios.ending import conclude
from tests.chaos.scenarios.report import Report, quantile
from tests.chaos.scene import Site, open_site

Fault = Callable[[Site], float]


@dataclass(frozen=True, slots=True)
class Order:
    """How a part is to be run: where, how often, from which seed, with which program, if not ours; `told` of its progress."""

    folder: Path
    count: int
    seed: int = 0
    program: list[str] | None = None
    told: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Part:
    """`count` faults, or `quick` of them, of about `seconds` each."""

    name: str
    count: int
    quick: int
    seconds: float
    run: Callable[[Order], Report]


def faults_of(name: str, fault: Fault, *, rotel: bool = True) -> Callable[[Order], Report]:
    """One fault again and again, under the usual load; whoever is judged says how."""

    def run(order: Order) -> Report:
        report = Report(name, {"times": order.count, "seed": order.seed})
        with open_site(order.folder, seed=order.seed, program=order.program, rotel=rotel) as site:
            try:
                note_recovery(report, faults.repeat(site, order.count, fault, order.told))
            except faults.Zombie as error:
                report.violations.append(str(error))
            return finish(site, report)

    return run


def finish(site: Site, report: Report) -> Report:
    """Judge the site; also that there was something to compare."""
    site.clients.wait_for_findings()
    conclude(site, report)
    report.require(
        bool(stored(site.cluster.owner_dsn, site.cluster.app_dsn).findings), "nothing was found: nothing was compared"
    )
    if site.rotel is not None:
        report.figures["records through rotel"] = site.rotel.arrived(site.tail)
        report.figures["records that rotel dropped"] = site.rotel.clients.acked["r0"] - site.rotel.arrived(site.tail)
    report.figures["answers"] = ", ".join(f"{status} {count}" for status, count in site.clients.statuses.most_common())
    return report


def note_recovery(report: Report, seconds: Sequence[float], name: str = "recovery") -> None:
    """The times from a fault to the first acknowledgement after it."""
    took = list(seconds)
    figures = (quantile(took, 0.5), quantile(took, 0.99), max(took, default=0.0))
    report.figures[f"{name} s, median / p99 / max"] = " / ".join(f"{value:.2f}" for value in figures)


FAULTS: tuple[Part, ...] = (
    Part("kill -9", 1000, 60, 2.5, faults_of("kill -9", faults.kill)),
    # An agent that sends to one port can not follow a take-over.
    Part("SIGSTOP, take-over, resume", 300, 10, 4.0, faults_of("SIGSTOP, take-over, resume", faults.zombie, rotel=False)),
    Part("backend kill -9", 100, 10, 3.0, faults_of("backend kill -9", faults.backend_kill)),
    Part("immediate stop of the database", 50, 5, 3.0, faults_of("immediate stop of the database", faults.immediate_stop)),
    Part("answer lost after COMMIT", 500, 50, 0.6, faults_of("answer lost after COMMIT", faults.lost_answer)),
)
