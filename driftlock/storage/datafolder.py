"""The folder of the embedded PostgreSQL: its layout, its lock, its passwords, and what a crash may have left in it.

<data_dir>/postgres.lock        held (flock) by the process that runs the cluster
<data_dir>/postgres/cluster     PostgreSQL's own files
<data_dir>/postgres/owner.password, app.password, backup.password
<data_dir>/postgres/archive.json      where its log is archived (`driftlock.storage.archive_note`)
<data_dir>/postgres/connection.json   how to connect to the running server
<data_dir>/postgres/server.log  PostgreSQL's messages, bounded
<data_dir>/postgres.new         a cluster being made; whatever is left of one is thrown away
<data_dir>/postgres.restore     a cluster being restored; until it is complete nothing else may use the folder
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from driftlock.storage.startup import StartupRefused

OWNER_ROLE = "driftlock_owner"
APP_ROLE = "driftlock_app"
BACKUP_ROLE = "driftlock_backup"
DATABASE = "driftlock"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a running embedded server. The owner migrates, the application serves."""

    owner_dsn: str
    app_dsn: str


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths and files of one embedded cluster under `root` (absolute); `name` is that of its folder."""

    root: Path
    name: str = "postgres"

    @property
    def home(self) -> Path:
        """Everything that belongs to the cluster."""
        return self.root / self.name

    @property
    def restoring(self) -> "DataFolder":
        """Where a cluster is restored before it is renamed to `home`."""
        return DataFolder(self.root, "postgres.restore")

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "cluster"

    @property
    def fresh(self) -> Path:
        """Where a new cluster is made before it is renamed to `home`."""
        return self.root / "postgres.new"

    @property
    def log(self) -> Path:
        """PostgreSQL's messages."""
        return self.home / "server.log"

    def password(self, role: str) -> str:
        """The password of `role`, as written when the cluster was made."""
        return password_file(self.home, role).read_text("ascii").strip()

    def dsn(self, role: str, port: int) -> str:
        """Connection string of `role` to Driftlock's database."""
        return f"postgresql://{role}:{self.password(role)}@{HOST}:{port}/{DATABASE}"

    def connection(self, port: int) -> Connection:
        """Both connection strings of a server that listens on `port`."""
        return Connection(self.dsn(OWNER_ROLE, port), self.dsn(APP_ROLE, port))

    def publish(self, connection: Connection) -> None:
        """Write `connection.json` (readable by the owner alone) for commands that find the server running."""
        write_private(self.home / "connection.json", json.dumps(asdict(connection)))

    def withdraw(self) -> None:
        """Remove `connection.json`."""
        (self.home / "connection.json").unlink(missing_ok=True)

    def lock(self) -> int:
        """Take the folder for this process; returns the descriptor that holds it. The kernel frees it when we die.

        Raises `StartupRefused` when another process has it or the folder can not be written.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.root / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StartupRefused(
                f"the data folder {self.root} can not be written ({error.strerror}): "
                "set DRIFTLOCK_DATA_DIR to a folder that this user may write"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StartupRefused(
                f"the data folder {self.root} is in use by another driftlock (process {holder}): "
                "stop it, or set DRIFTLOCK_DATA_DIR to another folder"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        return descriptor

    def running_postgres(self) -> int | None:
        """Process id of a PostgreSQL that still runs on the cluster, else None; a stale pid file is removed.

        A pid alone proves nothing: after a crash it may belong to any program, and PostgreSQL would refuse to start. So
        the process has to be called postgres and to work in this very folder before its pid file is respected.
        """
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text("ascii", "replace").split("\n", 1)[0])
        except FileNotFoundError:
            return None
        except ValueError:
            pid = 0
        if pid > 1 and _is_postgres_in(pid, self.cluster):
            return pid
        pid_file.unlink(missing_ok=True)
        return None


def running(data_dir: Path) -> Connection | None:
    """How to connect to the server that runs on `data_dir` now, or None when none does."""
    folder = DataFolder(data_dir.absolute())
    try:
        descriptor = os.open(folder.root / "postgres.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        try:
            return Connection(**json.loads((folder.home / "connection.json").read_text("ascii")))
        except (OSError, ValueError, TypeError):
            return None  # it is still starting
    finally:
        os.close(descriptor)
    return None


def password_file(home: Path, role: str) -> Path:
    """Where the password of `role` is kept."""
    return home / f"{role.removeprefix('driftlock_')}.password"


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text`, never readable by others, never half written."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync_folder(path: Path) -> None:
    """Make a rename inside this folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tail(path: Path, bytes_max: int = 2000) -> str:
    """The last lines of a log on one line, for an error message: the fatal ones, if any. Empty when there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - bytes_max))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    fatal = [line for line in lines[-6:] if "FATAL:" in line or "PANIC:" in line]
    return " | ".join(line.strip() for line in fatal or lines[-3:] if line.strip())


def _is_postgres_in(pid: int, cluster: Path) -> bool:
    process = Path("/proc") / str(pid)
    try:
        name, state = (process / "comm").read_text().strip(), (process / "stat").read_text().rpartition(")")[2].split()[0]
        if name != "postgres" or state == "Z":
            return False
        return (process / "cwd").resolve() == cluster.resolve()
    except PermissionError:
        return True  # another user's postgres: better refuse than start a second one on the same files
    except OSError:
        return False
