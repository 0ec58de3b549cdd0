"""SIGTERM under load: every call gets OK or a retryable status, the process ends soon and with code 0, and the books agree."""

import time
from collections import Counter
from pathlib import Path

from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.report import Report, quantile
from tests.chaos.scene import open_site

EXIT_S_MAX = 10.0
LOAD_S = 0.3
RETRYABLE = {"OK", "UNAVAILABLE", "CANCELLED", "ABORTED", "OUT_OF_RANGE", "DATA_LOSS", "DEADLINE_EXCEEDED"}
"""OTLP specification, "Failures": what a client sends again."""


def stop_under_load(folder: Path, *, times: int = 50) -> Report:
    """Stop the server while all clients send, start it again, so many times."""
    report = Report("SIGTERM under load", {"times": times})
    took, codes = [], Counter[int]()
    with open_site(folder, records=RECORDS) as site:
        for _ in range(times):
            site.clients.wait_for_acks(len(site.clients.acked))
            time.sleep(site.rng.random() * LOAD_S)
            began = time.monotonic()
            codes[site.node.stop()] += 1
            took.append(time.monotonic() - began)
            site.node.start()
        said = dict(site.clients.statuses)
        report.figures |= {
            "exit s, median / max": f"{quantile(took, 0.5):.2f} / {max(took):.2f}",
            "exit codes": str(dict(codes)),
            "answers": str(said),
        }
        report.require(set(codes) == {0}, f"exit codes {dict(codes)}: {site.node.tail(800)}")
        report.require(max(took) < EXIT_S_MAX, f"a stop took {max(took):.1f} s: {EXIT_S_MAX} s are allowed")
        report.require(set(said) <= RETRYABLE, f"answers that let clients drop data: {set(said) - RETRYABLE}")
        return conclude(site, report)
