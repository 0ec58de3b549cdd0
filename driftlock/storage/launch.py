"""Start one PostgreSQL program so that it dies with its parent and never runs as root. Run as a script, not imported.

    python -I -S launch.py MODE PARENT_PID COMMAND [ARGUMENT ...]

MODE is `plain`, `namespace` (root of this machine becomes an ordinary user of a new user namespace: PostgreSQL refuses
root, yet the files stay root's and a folder that only root can enter still works) or `user:UID:GID` (drop to that user).
It is a separate process because preparing a child between fork and exec is unsafe in a program that has threads.
Standard library only, so that it starts in a few hundredths of a second.
"""

import ctypes
import os
import signal
import sys

NAMESPACE_REFUSED = 97  # exit status: this machine does not let us make a user namespace
NOT_EXECUTABLE = 98  # exit status: the command can not be executed by the user it has to run as
CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ORDINARY_ID = 1000  # any id but 0; it exists only inside the namespace


def enter_namespace(libc: ctypes.CDLL) -> None:
    """Make this process user `ORDINARY_ID` of a new user namespace; raises OSError where that is refused."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    # Order matters: without CAP_SETGID outside, gid_map may be written only once setgroups is denied.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{ORDINARY_ID} {uid} 1"), ("gid_map", f"{ORDINARY_ID} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123  # pathlib doubles the start-up time
            file.write(text)


def main(arguments: list[str]) -> int:
    """Become the command; returns an exit status only when that failed."""
    mode, parent, command = arguments[1], int(arguments[2]), arguments[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    if mode == "namespace":
        try:
            enter_namespace(libc)
        except OSError as error:
            print(f"user namespaces are refused: {error}", file=sys.stderr)  # noqa: T201  # its output is read by the parent
            return NAMESPACE_REFUSED
    elif mode.startswith("user:"):
        _, uid, gid = mode.split(":")
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    os.umask(0o077)
    # After the change of identity, which clears it. SIGINT is PostgreSQL's fast shutdown.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        return 0  # the parent died before the signal was set up: nobody wants this process
    try:
        os.execv(command[0], command)  # noqa: S606  # no shell on purpose
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv))
