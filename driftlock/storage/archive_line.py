"""Which histories of a database an archive holds, where they part, and whether one of them is whole.

A recovery that ends early goes on in a new timeline; `<timeline>.history` says from which one it parted and where. See
https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftlock.storage.archive import SEGMENT, SEGMENT_BYTES, lsn_bytes, segment_name, segment_number
from driftlock.storage.startup import StartupRefused


@dataclass(frozen=True, slots=True)
class Timeline:
    """A timeline that has files in an archive; `path`: those before it and where each was left, oldest first.

    An empty path: the first one of a database, or one whose history is not there.
    """

    number: int
    path: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        """For a message."""
        if not self.path:
            return f"timeline {self.number}"
        parent, lsn = self.path[-1]
        return f"timeline {self.number}, forked from {parent} at {lsn}"


def timelines(folder: Path) -> list[Timeline]:
    """All in a folder of an archive, by number. Raises `StartupRefused`, OSError."""
    paths: dict[int, tuple[tuple[int, str], ...]] = {int(name[:8], 16): () for name in _segments(folder)}
    for file in folder.glob("????????.history"):
        try:
            fields = [line.split()[:2] for line in file.read_text("ascii").splitlines() if line.strip()]
            path = tuple((int(number), lsn) for number, lsn in fields)
            [lsn_bytes(lsn) for _, lsn in path]
            paths[int(file.stem, 16)] = path
        except ValueError as error:
            raise StartupRefused(f"{file} is damaged ({error}): bring it back, or move it away") from error
    return [Timeline(number, path) for number, path in sorted(paths.items())]


def forks(known: Sequence[Timeline], timeline: int, number: int) -> list[Timeline]:
    """Those that left `timeline` in segment `number` - 1 or later, and those of a higher number that do not tell."""
    return [
        other
        for other in known
        if any(parent == timeline and lsn_bytes(lsn) // SEGMENT_BYTES >= number - 1 for parent, lsn in other.path)
        or (other.number > timeline and not other.path)
    ]


def siblings(archive: Path, own: Path, system_identifier: str) -> list[str]:
    """What else the archive holds of the same database: the folders of restored copies, and of archives begun anew."""
    others = {archive / system_identifier, *archive.glob(f"{system_identifier}-*")} - {own}
    found = []
    for folder in sorted(path for path in others if path.is_dir()):
        try:
            held = "; ".join(timeline.text for timeline in timelines(folder))
        except (StartupRefused, OSError) as error:  # it is not the one that is read
            held = str(error)
        if held:
            found.append(f"{folder.name} ({held})")
    return found


def newest_segment(folder: Path, timeline: int) -> str | None:
    """The last whole segment of a timeline in the archive."""
    return max((name for name in _segments(folder) if int(name[:8], 16) == timeline), default=None)


def missing_segment(folder: Path, line: Timeline, number: int) -> str | None:
    """The first segment that a recovery along `line` from segment `number` on would miss although later ones are there.

    None when there is no such hole: PostgreSQL takes one for the end of the log and would open the database there.
    """
    spans, start = [], 0
    for timeline, lsn in line.path:
        left = lsn_bytes(lsn) // SEGMENT_BYTES
        spans.append((timeline, range(start, left + 1)))
        start = left
    held = _numbers(folder)
    last = max(held.get(line.number, {start}))
    spans.append((line.number, range(start, last + 1)))
    for wanted in range(number, last):
        candidates = [timeline for timeline, span in spans if wanted in span]
        if not any(wanted in held.get(timeline, ()) for timeline in candidates):
            return segment_name(candidates[-1], wanted)
    return None


def first_gap(folder: Path) -> str | None:
    """The first segment that is missing between two others of its timeline. Raises OSError."""
    for timeline, numbers in sorted(_numbers(folder).items()):
        for wanted in range(min(numbers), max(numbers)):
            if wanted not in numbers:
                return segment_name(timeline, wanted)
    return None


def _numbers(folder: Path) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for name in _segments(folder):
        found.setdefault(int(name[:8], 16), set()).add(segment_number(name))
    return found


def _segments(folder: Path) -> Iterator[str]:
    names: Iterable[str] = (entry.name for entry in folder.iterdir())
    return (name for name in names if SEGMENT.fullmatch(name))
