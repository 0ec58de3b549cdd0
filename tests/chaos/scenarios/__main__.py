"""`make soak`: half of the capacity with a fault every 20 seconds. Ends with 1 when something grew or a promise was broken."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.scenarios.soak import RESULTS, Pace, soak
from tests.chaos.scenarios.soak_samples import GrowthLimits, from_json, judge, table

CAPACITY_SHARE_MAX = 1 / 15
"""Of the whole soak, what measuring the capacity may take: shorter soaks measure it for less than a minute."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.scenarios", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="rewritten every minute with what was seen so far")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="run nothing; judge the samples in such results again")
    asked = parser.parse_args()
    if asked.judge is not None:
        return _judge(asked.judge)
    total_s = 60 * asked.minutes
    pace = Pace(total_s=total_s, capacity_s=min(Pace().capacity_s, total_s * CAPACITY_SHARE_MAX))
    with tempfile.TemporaryDirectory(prefix="driftlock-soak-") as folder:
        report = soak(Path(folder), pace=pace, results=asked.results)
    sys.stdout.write(f"{report.text()}\n")
    return int(bool(report.violations))


def _judge(results: Path) -> int:
    try:
        samples = from_json(json.loads(results.read_text()))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{results}: {error}\n")
        return 2
    violations = judge(samples, GrowthLimits())
    lines = [table(samples)] if len(samples) >= 3 else []
    sys.stdout.write("\n".join([*lines, *(f"VIOLATED: {violation}" for violation in violations)]) + "\n")
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
