"""Sixty-four clients send messages of 4 MiB to a server whose memory is limited: it refuses what is too much, and lives."""

import time
from collections import Counter
from pathlib import Path

from tests.chaos.scenarios.ending import RECORDS, conclude
from tests.chaos.scenarios.large import Large
from tests.chaos.scenarios.report import Report
from tests.chaos.scenarios.watching import MIB, Watch, address_space_bytes
from tests.chaos.scene import open_site
from tests.e2e.harness import COMMAND

SENDERS = 64
JOIN_S = 60.0
MESSAGE_BYTES = 4 * MIB
RECORD_BYTES = 60_000
ADDRESS_SPACE_BYTES = 4096 * MIB
"""Of what is reserved, most is never used: each thread's stack and the allocator's arenas count in full."""
RESIDENT_BYTES_MAX = 1024 * MIB


def large_messages(folder: Path, *, seconds: float = 120.0, resident_bytes_max: int = RESIDENT_BYTES_MAX) -> Report:
    """Large messages for `seconds`, beside the usual clients."""
    report = Report(
        "large messages",
        {
            "seconds": seconds,
            "clients": SENDERS,
            "message MiB": MESSAGE_BYTES // MIB,
            "address space MiB": ADDRESS_SPACE_BYTES // MIB,
        },
    )
    program = ["prlimit", f"--as={ADDRESS_SPACE_BYTES}:{ADDRESS_SPACE_BYTES}", *COMMAND]
    with open_site(folder, program=program, records=RECORDS) as site:
        pid = site.node.running.pid
        senders = [
            Large(f"large{number}", site, message_bytes=MESSAGE_BYTES, record_bytes=RECORD_BYTES) for number in range(SENDERS)
        ]
        with Watch(lambda: pid) as watch:
            began = time.monotonic()
            time.sleep(1.0)
            idle = watch.peak_bytes(began, time.monotonic())
            for sender in senders:
                sender.start()
            time.sleep(seconds)
            for sender in senders:
                sender.stop()
            end = time.monotonic() + JOIN_S
            stuck = [sender.name for sender in senders if not sender.join(end - time.monotonic())]
            peak, reserved = watch.peak_bytes(began, time.monotonic()), address_space_bytes(pid)
        said = sum((sender.statuses for sender in senders), Counter[str]())
        acknowledged = sum(sender.acked for sender in senders)
        site.clients.acked |= {sender.name: sender.acked for sender in senders}
        report.figures |= {
            "answers": str(dict(said)),
            "large records acknowledged": acknowledged,
            "MiB/s acknowledged": acknowledged * RECORD_BYTES / MIB / seconds,
            "address space MiB, peak": reserved // MIB,
            "resident MiB before / peak": f"{idle / MIB:.0f} / {peak / MIB:.0f}",
        }
        report.require(site.node.alive, f"the server has ended: {site.node.tail(800)}")
        report.require(not stuck, f"{len(stuck)} senders never got their last message acknowledged: {site.node.tail(800)}")
        report.require(set(said) <= {"OK", "UNAVAILABLE"}, f"answers other than OK and UNAVAILABLE: {dict(said)}")
        report.require(said["UNAVAILABLE"] > 0, "nothing was refused: this has tested nothing")
        report.require(acknowledged > 0, "nothing large was acknowledged")
        report.require(not sum(sender.unhinted for sender in senders), "a refusal did not say when to come again")
        report.require("MemoryError" not in site.node.tail(10**6), "the log speaks of MemoryError")
        report.require(peak <= resident_bytes_max, f"resident memory reached {peak} bytes: {resident_bytes_max} are allowed")
        return report if stuck or not site.node.alive else conclude(site, report)
