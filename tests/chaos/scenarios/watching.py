"""What a process takes of the machine, read from /proc every so often by a thread."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one moment (monotonic seconds): resident memory in bytes, open file descriptors, threads."""

    at_s: float
    resident_bytes: int
    descriptors: int
    threads: int


def taken(pid: int) -> Taken | None:
    """What the process takes now; None when there is no such process."""
    folder = Path("/proc") / str(pid)
    with contextlib.suppress(OSError, IndexError, ValueError):
        resident = int((folder / "statm").read_text().split()[1]) * PAGE_BYTES
        if resident:  # a zombie has none
            return Taken(
                time.monotonic(),
                resident,
                sum(1 for _ in (folder / "fd").iterdir()),
                sum(1 for _ in (folder / "task").iterdir()),
            )
    return None


def address_space_bytes(pid: int) -> int:
    """The most that the process has ever reserved, of which most is never resident; 0 when there is no such process."""
    with contextlib.suppress(OSError):
        for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024
    return 0


class Watch:
    """Samples a process while entered; `pid` is asked each time, since servers are started again; None: none runs."""

    def __init__(self, pid: Callable[[], int | None], period_s: float = 0.2) -> None:
        self._pid, self._period_s = pid, period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.samples: list[Taken] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, from_s: float, until_s: float) -> list[Taken]:
        """Samples of a time, in monotonic seconds."""
        return [sample for sample in self.samples if from_s <= sample.at_s <= until_s]

    def peak_bytes(self, from_s: float, until_s: float) -> int:
        """The largest resident memory of a time."""
        return max((sample.resident_bytes for sample in self.between(from_s, until_s)), default=0)

    def _run(self) -> None:
        while not self._ended.wait(self._period_s):
            pid = self._pid()
            sample = None if pid is None else taken(pid)
            if sample is not None:
                self.samples.append(sample)


def lines_of(output: Path, from_byte: int = 0) -> list[str]:
    """Log lines that a server wrote after so many bytes of its output."""
    with output.open("rb") as file:
        file.seek(from_byte)
        return file.read().decode("utf-8", "replace").splitlines()
