"""`make bench-traces`: faults in traces, on a public day and in made-up traffic, beside simple references; and what it costs.

`--quick`: no metrics, fewer faults, less clean traffic; in about two minutes, and nothing is kept.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout

from bench.data import loaders
from bench.quality.figures import Figure, show
from bench.report import report
from bench.traces import cost, nezha, power
from bench.traces.markdown import markdown


def protocols(*, quick: bool) -> Iterator[tuple[str, Callable[[], Iterable[Figure]]]]:
    """Every protocol with its name."""
    yield "nezha", lambda: nezha.figures(loaders(), quick=quick)
    yield "synthetic", lambda: power.figures(quick=quick)
    yield "cost", lambda: cost.figures(quick=quick)


def main() -> None:
    """See the module. A quick run, or one of some parts, is not kept, so that it never passes for a whole one."""
    parser = argparse.ArgumentParser(prog="python -m bench.traces", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no metrics, fewer faults; nothing is kept")
    parser.add_argument("--only", action="append", help="only this protocol; may be repeated; nothing is kept")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown, too")
    asked = parser.parse_args()
    found: list[Figure] = []
    for name, protocol in protocols(quick=asked.quick):
        if asked.only is None or name in asked.only:
            begin = time.perf_counter()
            figures = list(protocol())
            show(figures)
            print(f"{name}: {time.perf_counter() - begin:.0f} s\n", flush=True)
            found += figures
    if asked.markdown:
        print(markdown(found))
    if not asked.quick and not asked.only:
        with redirect_stdout(io.StringIO()):  # the figures were shown in tables that fit
            report("traces", "traces: injected faults, made-up traffic, cost", [figure.row() for figure in found])


if __name__ == "__main__":
    main()
