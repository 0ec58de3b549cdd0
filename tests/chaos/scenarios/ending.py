"""How every scenario ends: all acknowledged, all scored, and everything compared with everything."""

from tests.chaos.refold import ledger_differences
from tests.chaos.scenarios.report import Report
from tests.chaos.scene import Site

RECORDS = 40
"""Of a request: so many that short runs have odd lines to find, too."""


def conclude(site: Site, report: Report) -> Report:
    """Judge the site and add what was found to the report."""
    judgement = site.judge()
    report.figures["end"] = judgement.line
    report.require(judgement.clean, f"{judgement.line} {' '.join((*judgement.verdict.samples, *judgement.different))}".rstrip())
    return report


def conclude_without_findings(site: Site, report: Report) -> Report:
    """As `conclude`, but where something was destroyed, findings are not what an undisturbed run would have found."""
    last = site.settle()
    site.tail.finish(last)
    verdict, ledger = site.tail.check(site.clients.acked), ledger_differences(site.cluster.owner_dsn)
    report.figures["end"] = (
        f"{verdict.line}  journaled {verdict.records}  ledger {'holds' if not ledger else '; '.join(ledger)}"
    )
    report.require(verdict.clean, f"{verdict.line} {' '.join(verdict.samples)}")
    report.require(not ledger, f"the ledger does not add up: {'; '.join(ledger)}")
    return report
