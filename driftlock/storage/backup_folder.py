"""What a backup looks like on disk, and the check that it is whole.

<backup>/backup.json      what it is, and the SHA-256 of every other file here that PostgreSQL does not vouch for
<backup>/cluster          the base backup: files, `backup_manifest` with a checksum of each, and the log that it needs
<backup>/secrets          passwords of the cluster's roles, the local API key, the key that signs cursors

It is made as `<backup>.partial` and renamed when it is verified and on disk. All of it is for its owner's eyes only.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from driftlock.storage import binaries as programs
from driftlock.storage.archive_note import NAME
from driftlock.storage.binaries import Binaries
from driftlock.storage.datafolder import APP_ROLE, BACKUP_ROLE, OWNER_ROLE, DataFolder, password_file, write_private
from driftlock.storage.startup import StartupRefused

FORMAT = 2
FORMATS_READ = (1, FORMAT)  # the first one did not name the folder of the archive
DESCRIPTION, CLUSTER, SECRETS = "backup.json", "cluster", "secrets"
PASSWORDS = tuple(password_file(Path(), role).name for role in (OWNER_ROLE, APP_ROLE, BACKUP_ROLE))
KEYS = ("api-key", "cursor-key")  # of the data folder itself; made at the first start of a server
PROGRAM_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Backup:
    """The contents of `backup.json`. Times are the database's, ISO 8601 in UTC.

    A recovery from it can reach any moment after `ended_at`. `archive` names the folder of an archive that the log goes to
    (empty in format 1: the system identifier). `next_segment` is the first segment of `timeline` that the
    backup does not hold itself; an archive is needed from there on.
    """

    format: int
    driftlock: str
    postgresql: int
    system_identifier: str
    timeline: int
    next_segment: int
    started_at: str
    ended_at: str
    sha256: dict[str, str]
    archive: str = ""

    @property
    def complete_at(self) -> datetime:
        """`ended_at` as a time."""
        return datetime.fromisoformat(self.ended_at)

    @property
    def archive_folder(self) -> str:
        """Name of the folder in an archive."""
        return self.archive or self.system_identifier


def describe(folder: Path, backup: Backup) -> None:
    """Write `backup.json`."""
    write_private(folder / DESCRIPTION, json.dumps(asdict(backup), indent=2) + "\n")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in `secrets`, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / SECRETS).iterdir())}


def secret_sources(source: DataFolder) -> list[Path]:
    """The files that a backup of this data folder keeps as secrets."""
    found = [source.home / name for name in PASSWORDS] + [source.root / name for name in KEYS]
    return [path for path in found if path.exists()]


def read_backup(folder: Path) -> Backup:
    """What `backup.json` says, the secrets compared with it. Raises `StartupRefused`; `verify` checks the rest."""
    try:
        backup = Backup(**json.loads((folder / DESCRIPTION).read_text("utf-8")))
        whole = checksums(folder) == backup.sha256 and set(PASSWORDS) <= set(backup.sha256)
        _ = backup.complete_at
        if not NAME.fullmatch(backup.archive_folder):
            raise ValueError(f"{backup.archive_folder!r} is no folder of an archive")
    except FileNotFoundError as error:
        raise StartupRefused(
            f"{folder} is not a complete backup of driftlock: {error.filename} is missing; take another one"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise StartupRefused(f"{folder / DESCRIPTION} can not be read ({error}): take another backup") from error
    if backup.format not in FORMATS_READ:
        raise StartupRefused(
            f"{folder} has format {backup.format}, this version reads {FORMAT}: use the driftlock that made it"
        )
    if not whole:
        raise StartupRefused(f"the files in {folder / SECRETS} are not those that were backed up: take another backup")
    return backup


async def verify(cluster: Path, binaries: Binaries) -> None:
    """Read every file of a base backup and the log it needs, compare with its manifest. Raises `StartupRefused`.

    See https://www.postgresql.org/docs/current/app-pgverifybackup.html.
    """
    # In the folder and by a path without a name: it puts that path between double quotes into a shell's command line.
    await run_tool(binaries, "pg_verifybackup", "--quiet", "--exit-on-error", ".", what=f"{cluster} is damaged", folder=cluster)


async def run_tool(
    binaries: Binaries,
    name: str,
    *arguments: str,
    what: str,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> None:
    """Run one of PostgreSQL's programs; `StartupRefused` with `what` and its last words unless it succeeds."""
    program = binaries.folder / name
    if not program.is_file():
        raise StartupRefused(f"{program} is missing: install PostgreSQL {binaries.major} with its client programs")
    status, output = await programs.run(
        "plain", str(program), *arguments, timeout_s=PROGRAM_TIMEOUT_S, environment=environment or {}, folder=folder
    )
    if status != 0:
        said = [line.strip() for line in output.splitlines() if line.strip()]
        wrong = [line for line in said if "error" in line or "FATAL" in line] or said
        raise StartupRefused(f"{what}: {' | '.join(wrong[-2:]) or f'exit status {status}'}")
