"""`make soak`: half of the capacity with a fault every 20 seconds. Ends with 1 when something grew or a promise was broken."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.scenarios.soak import RESULTS, Pace, soak

CAPACITY_SHARE_MAX = 1 / 15
"""Of the whole soak, what measuring the capacity may take: shorter soaks measure it for less than a minute."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.scenarios", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="rewritten every minute with what was seen so far")
    asked = parser.parse_args()
    total_s = 60 * asked.minutes
    pace = Pace(total_s=total_s, capacity_s=min(Pace().capacity_s, total_s * CAPACITY_SHARE_MAX))
    with tempfile.TemporaryDirectory(prefix="driftlock-soak-") as folder:
        report = soak(Path(folder), pace=pace, results=asked.results)
    sys.stdout.write(f"{report.text()}\n")
    return int(bool(report.violations))


if __name__ == "__main__":
    sys.exit(main())
