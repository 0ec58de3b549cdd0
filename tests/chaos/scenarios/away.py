"""The database is away for a while under load: all is refused at once and retryably, nothing piles up, nothing is lost."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.probing import GRPC, HTTP, Probes, statuses
from tests.chaos.scenarios.report import Report, spread
from tests.chaos.scenarios.watching import MIB, Watch, lines_of
from tests.chaos.scene import Site, open_site

CALM_S = 2.0
"""Load before the database goes, and what is left out at both ends of its absence: calls that were under way."""


@dataclass(frozen=True, slots=True)
class AwayLimits:
    """`refusal_s_max`: from sending a request to its refusal. `resume_s_max`: from the database's return to an acknowledgement.

    Log lines: so many a second in all, and `lines_max` besides.
    """

    refusal_s_max: float = 1.0
    growth_bytes_max: int = 64 * MIB
    lines_per_s_max: float = 1.0
    lines_max: int = 10
    resume_s_max: float = 5.0


def database_away(folder: Path, *, seconds: float = 600.0, limits: AwayLimits | None = None) -> Report:
    """PostgreSQL is stopped for `seconds` while clients go on, then started again."""
    limits = limits or AwayLimits()
    report = Report("database away", {"seconds": seconds})
    with open_site(folder, records=RECORDS) as site:
        with (
            Watch(lambda: site.node.running.pid) as watch,
            Probes(site.node.grpc_port, site.node.otlp_http_port, site.key) as probes,
        ):
            began = time.monotonic()
            time.sleep(CALM_S)
            written = site.node.output.stat().st_size
            site.cluster.stop("fast")
            gone = time.monotonic()
            health = _health(site, gone + seconds)
            site.cluster.start()
            back = time.monotonic()
            while probes.first_ok_s(back) is None and time.monotonic() < back + 60:
                time.sleep(0.02)
            resumed = probes.first_ok_s(back)
            time.sleep(CALM_S / 2)
        grown = watch.peak_bytes(gone, back) - watch.peak_bytes(began, gone)
        lines = lines_of(site.node.output, written)
        _judge_answers(report, probes, gone + CALM_S / 2, back - CALM_S, limits)
        report.figures |= {
            "readyz and livez": ", ".join(sorted(health)),
            "growth MiB": grown / MIB,
            "log lines": len(lines),
            "first acknowledgement after s": -1.0 if resumed is None else resumed,
        }
        report.require(health == {"livez 200", "readyz 503"}, f"health said {sorted(health)} while the database was away")
        report.require(grown <= limits.growth_bytes_max, f"memory grew by {grown} bytes: more than {limits.growth_bytes_max}")
        allowed = limits.lines_max + limits.lines_per_s_max * (back - gone)
        report.require(len(lines) <= allowed, f"{len(lines)} log lines, more than {allowed:.0f}; the last: {lines[-3:]}")
        report.require(
            resumed is not None and resumed <= limits.resume_s_max,
            f"the first acknowledgement came {resumed} s after the database, later than {limits.resume_s_max} s",
        )
        return conclude(site, report)


def _health(site: Site, until_s: float) -> set[str]:
    """What the health endpoints say, from a moment after now on."""
    said = set()
    time.sleep(CALM_S / 2)
    while time.monotonic() < until_s:
        said |= {f"{path} {site.node.request('GET', f'/{path}')[0]}" for path in ("livez", "readyz")}
        time.sleep(0.2)
    return said


def _judge_answers(report: Report, probes: Probes, from_s: float, until_s: float, limits: AwayLimits) -> None:
    for door, wanted in ((GRPC, "UNAVAILABLE"), (HTTP, "503")):
        answers = probes.between(from_s, until_s, door)
        took = [each.seconds for each in answers]
        report.figures[f"{door} refusals"] = statuses(answers)
        report.figures[f"{door} refusal s, median / p99 / max"] = spread(took)
        wrong = [each for each in answers if each.status != wanted or not each.hint]
        report.require(bool(answers), f"no {door} request was answered")
        report.require(
            not wrong, f"{len(wrong)} of {len(answers)} {door} answers were not {wanted} with a hint: {statuses(wrong)}"
        )
        slow = sum(seconds > limits.refusal_s_max for seconds in took)
        report.require(
            not slow, f"{slow} {door} refusals took longer than {limits.refusal_s_max} s, up to {max(took, default=0.0):.2f}"
        )
