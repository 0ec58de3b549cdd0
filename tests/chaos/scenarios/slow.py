"""The way to the database is slow and lossy: commits take longer and groups grow, hardly anybody is turned away."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.probing import GRPC, Probes, statuses
from tests.chaos.scenarios.report import Report, spread
from tests.chaos.scenarios.watching import lines_of
from tests.chaos.scene import Site, open_site

WARM_S = 6.0
"""Connections take several round trips to open: a second each."""
OPENED = "driftlock_database_transitions_total{"


@dataclass(frozen=True, slots=True)
class SlowLimits:
    """`answer_s_max`: no request may wait longer. `good_share_min`: of requests, those that are acknowledged at the first try.

    `opened_max`: how often the circuit breaker may have opened.
    """

    answer_s_max: float = 5.0
    good_share_min: float = 0.9
    opened_max: int = 0


def database_slow(
    folder: Path, *, seconds: float = 120.0, delay_s: float = 1.0, reset_share: float = 0.01, limits: SlowLimits | None = None
) -> Report:
    """Each answer of PostgreSQL comes `delay_s` later (that of both ways); `reset_share` of them are broken connections."""
    limits = limits or SlowLimits()
    report = Report("database slow", {"seconds": seconds, "delay s": delay_s, "reset share": reset_share})
    with open_site(folder, records=RECORDS) as site:
        time.sleep(1.0)
        site.link.delay_s = delay_s
        time.sleep(WARM_S)
        opened, written = _opened(site), site.node.output.stat().st_size
        acknowledged = site.clients.acknowledgements
        site.link.reset_share = reset_share
        began = time.monotonic()
        with Probes(site.node.grpc_port, None, site.key) as probes:
            time.sleep(seconds)
        ended = time.monotonic()
        opened = _opened(site) - opened
        acknowledged = site.clients.acknowledgements - acknowledged
        site.link.delay_s = site.link.reset_share = 0.0
        answers = probes.between(began, ended, GRPC)
        took = [each.seconds for each in answers]
        good = sum(each.status == "OK" for each in answers) / max(1, len(answers))
        report.figures |= {
            "answers": statuses(answers),
            "answer s, median / p99 / max": spread(took),
            "requests acknowledged a second": acknowledged / (ended - began),
            "breaker opened": opened,
            "log lines": len(lines_of(site.node.output, written)),
        }
        late = sum(seconds > limits.answer_s_max for seconds in took)
        report.require(not late, f"{late} answers took longer than {limits.answer_s_max} s")
        report.require(good >= limits.good_share_min, f"only {good:.0%} of the requests were acknowledged: {statuses(answers)}")
        report.require(opened <= limits.opened_max, f"the circuit breaker opened {opened:.0f} times")
        report.require(acknowledged > 0, "nothing was acknowledged")
        return conclude(site, report)


def _opened(site: Site) -> float:
    """How often a circuit breaker of the server has opened."""
    lines = site.node.request("GET", "/metrics")[1].decode().splitlines()
    found = [line for line in lines if line.startswith(OPENED) and 'state="open"' in line]
    assert found, f"/metrics has no {OPENED}state=open}}"
    return sum(float(line.rpartition(" ")[2]) for line in found)
