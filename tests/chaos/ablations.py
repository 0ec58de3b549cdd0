"""Do the checkers have teeth? A server without one of its promises has to be found out."""

from pathlib import Path

from tests.chaos import faults
from tests.chaos.ablated import drop_fence
from tests.chaos.node import ablated
from tests.chaos.scenarios.report import Report
from tests.chaos.scene import Site, open_site

KILLS, LOST_ANSWERS, ZOMBIES_MAX = 3, 5, 10


def caught(what: str, folder: Path, *, seed: int = 0) -> Report:
    """Run a server without a promise through faults that need it; the violations are what the checkers saw.

    A server that is not found out has none, which is what must not be.
    """
    report = Report(f"without {what}")
    with open_site(folder, seed=seed, program=ablated(what), clients=8, services=4) as site:
        if what == "no-fence":
            assert drop_fence(site.cluster) > 0, (
                "no function of the schema asks for an epoch: this ablation has nothing to remove"
            )
        try:
            _hurt(site, what)
        except faults.Zombie as error:
            report.violations.append(str(error))
            return report
        judgement = site.judge()
    report.figures["end"] = judgement.line
    report.require(judgement.clean, f"{judgement.line} {' '.join((*judgement.verdict.samples, *judgement.different))}")
    return report


def _hurt(site: Site, what: str) -> None:
    if what == "ack-before-commit":
        # A database that is slow to answer makes what is acknowledged too early wait long enough to be lost.
        site.link.delay_s = 0.05
        faults.repeat(site, KILLS, faults.kill)
        site.link.delay_s = 0.0
    elif what == "no-dedup":
        faults.repeat(site, LOST_ANSWERS, faults.lost_answer)
    else:
        # A zombie whose next step does not follow is stopped by that as well, so not every one gets to acknowledge.
        faults.repeat(site, ZOMBIES_MAX, faults.zombie)
