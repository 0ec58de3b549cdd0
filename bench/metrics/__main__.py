"""`make bench-nab` and `make bench-metrics`: series of numbers, judged beside reference detectors on the same points.

`--quick`: fewer seeds, no slow reference; in under a minute, and nothing is kept.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout

from bench.data import loaders
from bench.metrics import cost, monitoring, nab_figures, nezha, power, rates, silence
from bench.quality.figures import Figure, show
from bench.report import report


def protocols(*, quick: bool) -> Iterator[tuple[str, Callable[[], Iterable[Figure]]]]:
    """Every protocol of `make bench-metrics` with its name."""
    data = loaders()
    yield "monitoring", lambda: monitoring.figures(data, quick=quick)
    yield "rates", lambda: rates.figures(data, quick=quick)
    yield "power", lambda: power.figures(quick=quick)
    yield "silence", lambda: silence.figures(quick=quick)
    yield "cost", lambda: cost.figures(quick=quick)
    yield "nezha", lambda: nezha.figures(data, quick=quick)


def run(name: str, title: str, parts: Iterable[tuple[str, Callable[[], Iterable[Figure]]]], *, keep: bool) -> None:
    """Show as it goes; a quick run, or one of some parts, is not kept, so that it never passes for a whole one."""
    found: list[Figure] = []
    for part, protocol in parts:
        begin = time.perf_counter()
        figures = list(protocol())
        show(figures)
        print(f"{part}: {time.perf_counter() - begin:.0f} s\n", flush=True)
        found += figures
    if keep:
        with redirect_stdout(io.StringIO()):  # the figures were shown in tables that fit
            report(name, title, [figure.row() for figure in found])


def nab(*, quick: bool) -> None:
    """The proof of the scorer, then the detectors; exits with 1 when published scores are not reproduced."""
    data = loaders()
    proof = nab_figures.prove(data)
    if quick:
        for row in proof:
            print(*row.values())
    else:
        report("nab-reproduction", "NAB: published scores from stored results", proof)
    run("nab", "NAB", [("NAB", lambda: nab_figures.figures(data, quick=quick))], keep=not quick)
    if any(row["passed"] != "pass" for row in proof):
        sys.exit(1)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--nab", action="store_true", help="only the Numenta Anomaly Benchmark")
    parser.add_argument("--quick", action="store_true", help="fewer seeds, no slow reference; nothing is kept")
    parser.add_argument("--only", action="append", help="only this protocol; may be repeated; nothing is kept")
    asked = parser.parse_args()
    if asked.nab:
        nab(quick=asked.quick)
        return
    parts = [part for part in protocols(quick=asked.quick) if asked.only is None or part[0] in asked.only]
    run(
        "metrics", "metrics: labelled points, rate of p, injected changes, cost", parts, keep=not asked.quick and not asked.only
    )


if __name__ == "__main__":
    main()
