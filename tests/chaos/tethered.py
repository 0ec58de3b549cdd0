"""Start a program that dies, by SIGKILL, with the thread that started it: python -I -S tethered.py PARENT_PID COMMAND [...].

So nothing outlives a test that fails, is interrupted, or is killed itself. Standard library only, so that it starts quickly.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tethered(*command: str) -> list[str]:
    """The command line that starts `command` so."""
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == int(arguments[0]):  # else the parent died before the signal was set up
        os.execvp(arguments[1], arguments[1:])  # noqa: S606  # no shell on purpose


if __name__ == "__main__":
    main(sys.argv[1:])
