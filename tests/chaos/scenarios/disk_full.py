"""The database's disk is full: everything is refused retryably, and once there is room again, everything goes on."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.probing import Probes, statuses
from tests.chaos.scenarios.report import Report
from tests.chaos.scenarios.watching import MIB
from tests.chaos.scene import Site, open_site

DISK_MIB = 220
LEFT_MIB = 2
FULL_WAIT_S = 30.0
RESUME_S_MAX = 15.0
"""PostgreSQL may have to be started again and to recover."""
SETTINGS = {"max_wal_size": "64MB", "min_wal_size": "32MB", "shared_buffers": "16MB"}
RETRYABLE = {"OK", "UNAVAILABLE"}


class CannotMount(Exception):
    """This machine does not let us mount a file system of our own; the text says why."""


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """A file system in memory of that size on `folder`. Raises `CannotMount`."""
    folder.mkdir(mode=0o700, parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0700", "driftlock-chaos", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotMount(f"mount can not be run: {error}") from None
    if done.returncode:
        raise CannotMount(f"mount -t tmpfs needs root and CAP_SYS_ADMIN: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_full(folder: Path, *, seconds: float = 60.0) -> Report:
    """The disk of PostgreSQL is full for `seconds` under load."""
    report = Report("disk full", {"seconds": seconds, "disk MiB": DISK_MIB})
    try:
        with small_disk(folder / "cluster", DISK_MIB) as disk, open_site(folder, settings=SETTINGS, records=RECORDS) as site:
            return _fill(report, site, disk, seconds)
    except CannotMount as error:
        report.skipped = str(error)
        return report


def _fill(report: Report, site: Site, disk: Path, seconds: float) -> Report:
    ballast = disk / "ballast"
    with Probes(site.node.grpc_port, None, site.key) as probes:
        time.sleep(1.0)
        began = time.monotonic()
        _take_room(disk, ballast)
        while probes.answers and probes.answers[-1].status == "OK" and time.monotonic() < began + FULL_WAIT_S:
            time.sleep(0.02)
        full = time.monotonic()
        end = full + seconds
        while time.monotonic() < end:
            _take_room(disk, ballast)  # what PostgreSQL gives back as it goes down is taken, too
            if time.monotonic() > full + seconds / 2:
                _exhaust_log(site)
            time.sleep(0.1)
        died = not site.cluster.alive
        room = time.monotonic()
        ballast.unlink()
        if died:  # as its service manager would
            site.cluster.start()
        while probes.first_ok_s(room) is None and time.monotonic() < room + 60:
            time.sleep(0.02)
        resumed = probes.first_ok_s(room)
    answers = probes.between(full, room - 0.5)
    wrong = [each for each in answers if each.status not in RETRYABLE]
    refused = [each for each in answers if each.status == "UNAVAILABLE"]
    report.figures |= {
        "answers while it was full": statuses(answers),
        "PostgreSQL ended": "yes" if died else "no",
        "first acknowledgement after s": -1.0 if resumed is None else resumed,
    }
    report.require(bool(refused), f"the disk was never full for the server: {statuses(answers)}")
    report.require(not wrong, f"answers that are not retryable: {statuses(wrong)}")
    report.require(all(each.hint for each in refused), "a refusal did not say when to come again")
    report.require(
        resumed is not None and resumed <= RESUME_S_MAX,
        f"the first acknowledgement came {resumed} s after there was room, later than {RESUME_S_MAX} s",
    )
    return conclude(site, report)


def _exhaust_log(site: Site) -> None:
    """Let PostgreSQL need a new file for its write-ahead log, for which it has no room: it has to give up, not go on."""
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        site.cluster.query("select pg_current_xact_id()")
        site.cluster.query("select pg_switch_wal()")


def _take_room(disk: Path, ballast: Path) -> None:
    """Let the ballast grow until the disk has next to nothing left."""
    found = os.statvfs(disk)
    room = found.f_bavail * found.f_frsize - LEFT_MIB * MIB
    if room > 0:
        with contextlib.suppress(OSError), ballast.open("ab") as file:
            file.write(bytes(room))
