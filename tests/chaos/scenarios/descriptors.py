"""No file descriptors are left: new connections fail, those that are open go on, the log stays quiet, and it passes."""

import contextlib
import socket
import time
from pathlib import Path

from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.probing import Probes, statuses
from tests.chaos.scenarios.report import Report
from tests.chaos.scenarios.watching import Watch, lines_of
from tests.chaos.scene import open_site
from tests.e2e.harness import COMMAND

DESCRIPTORS = 112
CONNECTIONS = 60
"""Opened at each of the OTLP doors and at REST, more than descriptors are left in all; one address may have 64 at a door."""
LINES_PER_S_MAX = 2.0
LINES_MAX = 10
RESUME_S_MAX = 5.0


def no_descriptors(folder: Path, *, seconds: float = 60.0) -> Report:
    """A server that may have `DESCRIPTORS` files open meets more connections than that."""
    report = Report("no file descriptors", {"seconds": seconds, "descriptors": DESCRIPTORS})
    program = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *COMMAND]
    with open_site(folder, program=program, records=RECORDS) as site:
        pid = site.node.running.pid
        with (
            Watch(lambda: pid) as watch,
            Probes(site.node.grpc_port, None, site.key) as open_before,
            contextlib.ExitStack() as flood,
        ):
            time.sleep(1.0)
            written, acknowledged = site.node.output.stat().st_size, site.clients.acknowledgements
            began, cpu = time.monotonic(), _cpu_s(pid)
            for port in (site.node.grpc_port, site.node.otlp_http_port, site.node.http_port):
                for _ in range(CONNECTIONS):
                    _connect(flood, port)
            time.sleep(seconds)
            cpu, ended = _cpu_s(pid) - cpu, time.monotonic()
            acknowledged = site.clients.acknowledgements - acknowledged
            most = max((sample.descriptors for sample in watch.between(began, ended)), default=0)
            flood.close()
            back = time.monotonic()
            with Probes(site.node.grpc_port, site.node.otlp_http_port, site.key) as fresh:
                while (
                    len({each.door for each in fresh.answers if each.status in ("OK", "200")}) < 2
                    and time.monotonic() < back + 30
                ):
                    time.sleep(0.02)
            resumed = time.monotonic() - back
        answers = open_before.between(began, ended)
        lines = lines_of(site.node.output, written)
        wrong = [each for each in answers if each.status not in ("OK", "UNAVAILABLE")]
        report.figures |= {
            "descriptors open": most,
            "answers on connections that were open": statuses(answers),
            "requests acknowledged meanwhile": acknowledged,
            "CPU of one core": cpu / (ended - began),
            "log lines": len(lines),
            "new connections work again after s": resumed,
        }
        report.require(
            most >= DESCRIPTORS - 4, f"only {most} of {DESCRIPTORS} descriptors were ever open: this has tested nothing"
        )
        report.require(acknowledged > 0, "connections that were open did not go on")
        report.require(not wrong, f"connections that were open were answered {statuses(wrong)}")
        allowed = LINES_MAX + LINES_PER_S_MAX * (ended - began)
        report.require(len(lines) <= allowed, f"{len(lines)} log lines, more than {allowed:.0f}; the last: {lines[-3:]}")
        report.require(resumed <= RESUME_S_MAX, f"new connections worked only after {resumed:.1f} s")
        return conclude(site, report)


def _connect(flood: contextlib.ExitStack, port: int) -> None:
    """A connection that says nothing; the kernel completes it even when the server can not accept it."""
    with contextlib.suppress(OSError):
        flood.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1.0))


def _cpu_s(pid: int) -> float:
    """Processor seconds of the process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
