"""PostgreSQL is there, but answers that it can not: read-only, too many connections, connections ended by an administrator."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftlock.storage.datafolder import APP_ROLE
from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.probing import Probes, statuses
from tests.chaos.scenarios.report import Report
from tests.chaos.scene import Site, open_site

REACHED_S = 1.5
"""How long calls that were under way, and connections that were open, may still be answered OK."""
RESUME_S_MAX = 5.0
READ_ONLY = "alter system set default_transaction_read_only = {}"
RELOAD = "select pg_reload_conf()"
LIMIT = f"alter role {APP_ROLE} connection limit {{}}"
END = f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{APP_ROLE}'"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Phase:
    """Statements that bring the trouble, that end it, one that is repeated meanwhile, and whether all is refused."""

    name: str
    before: Sequence[str]
    after: Sequence[str]
    again: str = ""
    refuses_all: bool = True


PHASES = (
    Phase("read-only", (READ_ONLY.format("on"), RELOAD), (READ_ONLY.format("off"), RELOAD)),
    Phase("too many connections", (LIMIT.format(0), END), (LIMIT.format(-1),)),
    Phase("connections ended", (), (), again=END, refuses_all=False),
)


def database_answers(folder: Path, *, seconds: float = 30.0) -> Report:
    """Each of the phases for `seconds` under load."""
    report = Report("answers of PostgreSQL", {"seconds each": seconds})
    with open_site(folder, records=RECORDS) as site:
        for phase in PHASES:
            _run(report, site, phase, seconds)
        return conclude(site, report)


def _run(report: Report, site: Site, phase: Phase, seconds: float) -> None:
    with Probes(site.node.grpc_port, None, site.key) as probes:
        for statement in phase.before:
            site.cluster.query(statement)
        began = time.monotonic()
        _wait(site, phase, began + REACHED_S + seconds)
        until = time.monotonic()
        for statement in phase.after:
            site.cluster.query(statement)
        ended = time.monotonic()
        _until(lambda: probes.first_ok_s(ended) is not None, ended + 60)
        resumed = probes.first_ok_s(ended)
    answers = [each for each in probes.between(began + REACHED_S, until) if each.sent_s + each.seconds < until]
    allowed = {"UNAVAILABLE"} if phase.refuses_all else {"UNAVAILABLE", "OK"}
    wrong = [each for each in answers if each.status not in allowed]
    report.figures[phase.name] = f"{statuses(answers)}; resumed after {-1.0 if resumed is None else resumed:.2f} s"
    report.require(bool(answers), f"{phase.name}: nothing was answered")
    report.require(not wrong, f"{phase.name}: {statuses(wrong)}")
    report.require(
        all(each.hint for each in answers if each.status != "OK"), f"{phase.name}: a refusal did not say when to come again"
    )
    report.require(
        resumed is not None and resumed <= RESUME_S_MAX,
        f"{phase.name}: the first acknowledgement came {resumed} s after its end",
    )


def _wait(site: Site, phase: Phase, until_s: float) -> None:
    while time.monotonic() < until_s:
        if phase.again:
            site.cluster.query(phase.again)
        time.sleep(0.5)


def _until(condition: Callable[[], bool], until_s: float) -> None:
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.02)
