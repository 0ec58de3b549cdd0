"""Make a cluster: once for each data folder, and never half of one."""

import os
import shutil
from collections.abc import Callable

from driftlock.storage import binaries as programs
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import (
    APP_ROLE,
    BACKUP_ROLE,
    OWNER_ROLE,
    DataFolder,
    password_file,
    sync_folder,
    write_private,
)
from driftlock.storage.startup import StartupRefused

BUILTIN_LOCALE_SINCE = 17


async def create_cluster(
    folder: DataFolder, binaries: Binaries, identity: Identity, token_bytes: Callable[[int], bytes], timeout_s: float
) -> None:
    """initdb into `postgres.new`, renamed only when it is complete and on disk: a crash in between leaves no half cluster.

    The folder's lock must be held. Raises `StartupRefused`, OSError, TimeoutError.
    """
    fresh = folder.fresh
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    for role in (OWNER_ROLE, APP_ROLE, BACKUP_ROLE):
        write_private(password_file(fresh, role), token_bytes(24).hex())
    hint = "free some space or set DRIFTLOCK_DATA_DIR to another folder"
    if identity.owner is not None:
        # The system user owns the cluster, and has to pass through our folder, though not to read it.
        hint = f"every folder above it must let other users pass (chmod o+x), or {hint}"
        folder.root.chmod(folder.root.stat().st_mode | 0o011)
        for path in (fresh, *fresh.iterdir()):
            os.chown(path, *identity.owner)
    status, output = await programs.run(
        identity.mode,
        str(binaries.folder / "initdb"),
        f"--pgdata={fresh / 'cluster'}",
        f"--username={OWNER_ROLE}",
        f"--pwfile={password_file(fresh, OWNER_ROLE)}",
        "--auth=scram-sha-256",
        "--locale=C.UTF-8",
        *(("--locale-provider=builtin",) if binaries.major >= BUILTIN_LOCALE_SINCE else ()),
        "--encoding=UTF8",
        "--no-instructions",
        timeout_s=timeout_s,
        environment={},
    )
    if status != 0:
        said = [line for line in output.splitlines() if line.strip()]
        lines = [line for line in said if "error" in line or "FATAL" in line] or said
        raise StartupRefused(f"initdb failed in {fresh}: {' | '.join(lines[-2:]) or f'exit status {status}'}; {hint}")
    fresh.rename(folder.home)
    sync_folder(folder.root)
