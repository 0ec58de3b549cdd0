"""`make bench-quality`: every protocol on the public data, beside references. `--quick`: a subset in two minutes."""

import argparse
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout

from bench.core import throughput
from bench.data import loaders
from bench.quality import alarms, explanation, injections, instances, presence, sessions
from bench.quality.figures import Figure, show
from bench.report import report
from cbad_cy.codec import CODECS
from driftlock.engine.profile import DEFAULT_CODEC

THROUGHPUT_EVENTS = 100_000


def speed(lines: Sequence[bytes]) -> Iterator[Figure]:
    """Protocol 6: events/s of masking and scoring beside Drain3 in the same run, from the benchmark of the core."""
    for row in throughput(lines):
        for measure in ("tokenize + score /s", "fold /s", "Drain3 /s", "x Drain3"):
            about = ("6 throughput", "one core, best of several rounds", "HDFS", f"driftlock {row['codec']}")
            yield Figure(*about, measure, float(str(row[measure])), count=len(lines))


def protocols(codecs: Sequence[str], *, quick: bool) -> Iterator[tuple[str, Callable[[], Iterable[Figure]]]]:
    """Every protocol with its name."""
    data = loaders()
    positions = injections.POSITIONS // 5 if quick else injections.POSITIONS
    events = THROUGHPUT_EVENTS // 5 if quick else THROUGHPUT_EVENTS
    yield "false alarms", lambda: alarms.figures(data, codecs, quick=quick)
    yield "sessions", lambda: sessions.figures(data, codecs, quick=quick)
    yield "injections", lambda: injections.figures(injections.settings(data, positions), codecs)
    yield "instances", lambda: instances.figures(data, quick=quick)
    yield "explanation", lambda: explanation.figures(injections.settings(data, positions // 3), codecs)
    yield "presence", lambda: presence.figures(data, quick=quick)
    yield "throughput", lambda: speed([text.encode() for _, text, _, _ in data.hdfs_lines()][:events])


def main() -> None:
    """Run, show as it goes, and keep; a quick run is not kept, so that it never passes for a whole one."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the default codec and a fifth of the data; nothing is kept")
    parser.add_argument("--codec", action="append", choices=sorted(CODECS), help="only this codec; may be repeated")
    asked = parser.parse_args()
    codecs = tuple(asked.codec or ((DEFAULT_CODEC,) if asked.quick else CODECS))
    found: list[Figure] = []
    for name, protocol in protocols(codecs, quick=asked.quick):
        begin = time.perf_counter()
        figures = list(protocol())
        show(figures)
        print(f"{name}: {time.perf_counter() - begin:.0f} s\n", flush=True)
        found += figures
    if not asked.quick:
        with redirect_stdout(io.StringIO()):  # the figures were shown in tables that fit
            report("quality", "quality: false alarms, sessions, injections, explanations", [figure.row() for figure in found])


if __name__ == "__main__":
    main()
