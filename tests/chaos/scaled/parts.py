"""The part of `make chaos` that breaks gateway, workers and api; its count is processes that are killed."""

from tests.chaos.parts import Order, Part
from tests.chaos.scaled.faults import Stuck, repeat
from tests.chaos.scaled.judging import conclude
from tests.chaos.scaled.site import open_scaled_site
from tests.chaos.scenarios.report import Report

NAME = "gateway, workers and api"


def scaled_out(order: Order) -> Report:
    """Kills, freezes, rebalances and outages while records flow; at the end everything is compared."""
    report = Report(NAME, {"kills": order.count, "seed": order.seed})
    with open_scaled_site(order.folder, seed=order.seed) as site:
        try:
            done = repeat(site, order.count, order.told)
        except Stuck as error:
            report.violations.append(str(error))
            return report
        report.figures["faults"] = ", ".join(f"{name} {count}" for name, count in sorted(done.items()))
        conclude(site, report)
    return report


SCALED = Part(NAME, 40, 4, 30.0, scaled_out)
