"""A database that goes away, or that others keep busy, under load: refused at once and retryably, in a quiet log."""

import contextlib
import http.client
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.site import Site, open_site

pytestmark = pytest.mark.e2e
AWAY_S, LOCKED_S = 5.0, 8
LOG = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "asked"}}]},
            "scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": "x"}}]}],
        }
    ]
}


@contextlib.contextmanager
def meanwhile(work: Callable[[threading.Event], None], threads: int = 1) -> Iterator[None]:
    """`work(stop)` on threads of their own while entered."""
    stop = threading.Event()
    running = [threading.Thread(target=work, args=(stop,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join(30)


def resident_kib(site: Site) -> int:
    """Memory of the server."""
    status = Path(f"/proc/{site.node.running.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def send(site: Site) -> int:
    """One record over OTLP/HTTP; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", site.node.otlp_http_port, timeout=10)
    try:
        headers = {"Content-Type": "application/json", "X-Api-Key": site.key}
        connection.request("POST", "/v1/logs", json.dumps(LOG), headers)
        response = connection.getresponse()
        response.read()
        assert response.status != 503 or response.headers["Retry-After"]
        return response.status
    finally:
        connection.close()


def test_an_outage_under_load(tmp_path: Path) -> None:
    with open_site(tmp_path, rest_s=0.0) as site:
        said = len(site.node.output.read_text().splitlines())
        taken = resident_kib(site)
        site.clients.statuses.clear()
        site.link.cut()
        time.sleep(1.0)
        seconds: list[float] = []
        others: list[int] = []

        def ask(stop: threading.Event) -> None:
            while not stop.is_set():
                began = time.perf_counter()
                status = send(site)
                seconds.append(time.perf_counter() - began)
                if status != 503:
                    others.append(status)
                time.sleep(0.01)

        with meanwhile(ask):
            time.sleep(AWAY_S)
        up = [site.node.metric(f'driftlock_database_up{{lane="{lane}"}}') for lane in ("append", "keys")]
        live, ready = site.node.request("GET", "/livez")[0], site.node.request("GET", "/readyz")[0]
        answers, grown = Counter(site.clients.statuses), resident_kib(site) - taken
        site.link.mend()
        back_s = site.clients.wait_for_acks(1)
        lines = [line for line in site.node.output.read_text().splitlines()[said:] if line.strip()]
        figures = (
            f"acknowledged {back_s:.2f} s after its return; {dict(answers)}; {len(lines)} lines in {AWAY_S + 1:.0f} s; "
            f"OTLP/HTTP refused {len(seconds)} times, median {statistics.median(seconds) * 1000:.1f} ms, "
            f"p99 {statistics.quantiles(seconds, n=100)[98] * 1000:.1f} ms; memory +{grown} KiB"
        )
        (tmp_path / "figures").write_text(figures)
        assert not others, figures
        assert back_s < 5, figures
        assert set(answers) <= {"OK", "UNAVAILABLE"}, figures
        assert answers["UNAVAILABLE"] > 100, figures
        assert answers["OK"] <= 64, figures  # what was on its way when it was cut
        assert up == [0.0, 0.0]
        assert (live, ready) == (200, 503)
        assert len(lines) <= AWAY_S + 1, lines
        assert any("the database is away" in line for line in lines), lines
        assert grown < 64 * 1024, figures
        judged = site.judge()
        assert judged.clean, judged.line


def test_questions_that_wait_for_a_lock_do_not_keep_records_out(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        statuses: Counter[int] = Counter()
        longest_s = 0.0

        def ask(stop: threading.Event) -> None:
            nonlocal longest_s
            while not stop.is_set():
                began = time.perf_counter()
                status, _ = site.node.request("GET", "/v1/anomalies", key=site.key)
                longest_s = max(longest_s, time.perf_counter() - began)
                statuses[status] += 1

        def lock(_: threading.Event) -> None:
            site.cluster.query(
                f"do $$ begin lock table driftlock.anomalies in access exclusive mode; perform pg_sleep({LOCKED_S}); end $$"
            )

        with meanwhile(lock):
            time.sleep(1.0)
            with meanwhile(ask, threads=24):
                for _ in range(3):
                    site.clients.wait_for_acks(10, timeout_s=3)
                    time.sleep(1.0)
        assert set(statuses) == {503}
        assert statuses[503] > 24
        assert longest_s < 8  # it waits 0.9 s for a connection or 2 s for an answer
        assert set(site.clients.statuses) == {"OK"}
        assert site.node.request("GET", "/v1/anomalies", key=site.key)[0] == 200
        judged = site.judge()
        assert judged.clean, judged.line
