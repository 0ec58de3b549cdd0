"""What a data folder knows of its archive: the name of its own folder there, and whether the log goes there at all.

<data_dir>/postgres/archive.json

The name is made with the first start, and anew by each restore: a restored copy has the identifier of the original, and two
histories in one folder could not be told apart. The note also keeps a start without DRIFTLOCK_ARCHIVE_DIR from making a hole.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from driftlock.storage.datafolder import write_private
from driftlock.storage.startup import StartupRefused

NOTE = "archive.json"
NAME = re.compile(r"[0-9]{1,20}(-[0-9a-f]{16})?")
ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class ArchiveNote:
    """`folder`: name of this cluster's own folder in an archive. `archive`: where that is; None: the log is not archived."""

    folder: str
    archive: str | None


def new_note(system_identifier: str, token_bytes: Callable[[int], bytes]) -> ArchiveNote:
    """A name that nothing else has; not archived yet."""
    return ArchiveNote(f"{system_identifier}-{token_bytes(ID_BYTES).hex()}", None)


def read_note(home: Path) -> ArchiveNote | None:
    """The note of the cluster in `home`; None when it has none. Raises `StartupRefused`."""
    path = home / NOTE
    try:
        note = ArchiveNote(**json.loads(path.read_text("ascii")))
        if not NAME.fullmatch(note.folder) or not isinstance(note.archive, str | None):
            raise ValueError("wrong values")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StartupRefused(
            f"{path} can not be read ({error}): bring it back, or remove it, which begins a new archive, and take a backup"
        ) from error
    return note


def write_note(home: Path, note: ArchiveNote) -> None:
    """Keep it."""
    write_private(home / NOTE, json.dumps(asdict(note)))
