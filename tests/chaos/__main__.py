"""`make chaos`: faults on real processes, by parts, each with everything compared at its end; see docs/reliability.md.

    python -m tests.chaos [--only NAME]... [--scale SHARE] [--quick] [--seed N] [--ablate WHAT] [--list]

Exit code 1 when anything acknowledged was lost, anything was there twice, or anything else of the promise was not kept.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.ablated import ABLATIONS
from tests.chaos.ablations import caught
from tests.chaos.embedded import EMBEDDED
from tests.chaos.parts import FAULTS, Order, Part
from tests.chaos.scaled.parts import SCALED
from tests.chaos.scenarios.parts import SCENARIOS
from tests.chaos.scenarios.report import Report
from tests.e2e.harness import ROOT

RESULTS = ROOT / "bench" / "results" / "chaos.json"


def say(text: str) -> None:
    """A line, or more, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def all_parts() -> tuple[Part, ...]:
    """Every part, in order: faults of processes first, then those of what they stand on."""
    return (*FAULTS, EMBEDDED, SCALED, *SCENARIOS)


def run_part(part: Part, count: int, seed: int, keep: Path | None) -> tuple[Report, float]:
    """Run a part in a folder of its own (kept under `keep`, if given); what it found, and the seconds that it took."""
    began = time.monotonic()

    def told(done: int) -> None:
        if done % 50 == 0:
            sys.stderr.write(f"  {part.name}: {done} of {count}, {time.monotonic() - began:.0f} s\n")

    with contextlib.ExitStack() as stack:
        folder = keep / part.name.replace(" ", "-").replace(",", "") if keep else None
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        try:
            report = part.run(Order(folder, count, seed, told=told))
        except Exception as error:  # a part that breaks is a part that has not kept its promise; the others still run
            report = Report(part.name, {"times": count})
            report.violations.append(f"{type(error).__name__}: {error}")
    return report, time.monotonic() - began


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="parts whose name holds this; can be repeated"
    )
    parser.add_argument("--scale", type=float, default=1.0, metavar="SHARE", help="of the counts, at least one of each")
    parser.add_argument("--count", type=int, help="instead of each part's own count")
    parser.add_argument("--quick", action="store_true", help="the short count of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the folders of the parts there")
    parser.add_argument("--ablate", choices=sorted(ABLATIONS), help="break one promise on purpose: this must be caught")
    parser.add_argument("--list", action="store_true", help="the parts, their counts and about how long they take")
    arguments = parser.parse_args()
    if arguments.ablate:
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            report = caught(arguments.ablate, Path(folder), seed=arguments.seed)
        say(report.text())
        return 1 if report.violations else 0
    parts = [part for part in all_parts() if not arguments.only or any(word in part.name for word in arguments.only)]
    counts = {
        part.name: arguments.count or (part.quick if arguments.quick else max(1, round(part.count * arguments.scale)))
        for part in parts
    }
    if arguments.list:
        for part in parts:
            count = counts[part.name]
            say(f"{part.name:44} {count:6} x {part.seconds:6.1f} s = {count * part.seconds / 60:6.1f} min")
        return 0
    reports = []
    for part in parts:
        report, seconds = run_part(part, counts[part.name], arguments.seed, arguments.keep)
        report.figures["took s"] = round(seconds, 1)
        say(report.text())
        reports.append(report)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps([json.loads(report.json()) for report in reports], indent=1) + "\n")
    failed = [report.name for report in reports if report.violations]
    say(
        f"\n{len(reports) - len(failed)} of {len(reports)} parts kept the promise"
        + (f"; NOT: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
