"""Streams with anchors for tests: rows of a journal, hours of lines, and what a folder tells of them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import pytest

from driftlock.engine.anchor import AnchorChange, AnchorNote, AnchorSettings, Freeze
from driftlock.engine.drift import HOUR_NS, DriftHour
from driftlock.engine.event import RecordBatch
from driftlock.engine.folding import Emitted, Folder, Resident
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.ports import AnchorLoss, Checkpoint, JournalRow, RowKind
from driftlock.engine.profile import PROFILES, Profile, custom
from driftlock.engine.records import encode, encode_anchor, encode_config
from driftlock.engine.verdict import Finding, StreamEvent
from tests.engine.streams import BASE_NS, FAR_NS, KEY, batch, iid

TENANT, STREAM = UUID(int=1), UUID(int=2)
FIRST_HOUR_NS = (BASE_NS // HOUR_NS + 1) * HOUR_NS
PROFILE = custom(PROFILES["balanced"], {"baseline_size": 160, "window_size": 20, "hop_size": 10})
FREEZE = AnchorChange(freeze=Freeze())

PLACES = ["runway", "gate", "tower", "apron", "hangar", "terminal", "stand", "taxiway"]
MOVES = ["boarded", "landed", "diverted", "cleared", "held", "released", "rerouted", "departed"]


def flights(seed: int, kinds: int = 12) -> Iterator[bytes]:
    """Lines of another program than those of `iid`, with other words in another order."""
    rng = random.Random(seed)
    forms = [
        f"{rng.choice(PLACES)} {rng.choice(MOVES)} flight %d: {rng.choice(PLACES)}={rng.choice(PLACES)} after %d s"
        for _ in range(kinds)
    ]
    while True:
        yield (rng.choice(forms) % (rng.randrange(10**6), rng.randrange(1000))).encode()


def mixed(seed: int, share: float) -> Iterator[bytes]:
    """Lines of `iid`, of which a `share` are those of another program."""
    rng, usual, other = random.Random(seed + 1), iid(seed), flights(seed)
    while True:
        yield next(other) if rng.random() < share else next(usual)


def hour(lines: Iterator[bytes], number: int, minutes: int = 3, size: int = 20) -> RecordBatch:
    """`minutes` of `size` lines each at the beginning of an hour of event time."""
    found = batch(list(islice(lines, minutes * size)))
    for at in range(minutes * size):
        found.times_ns[at] = FIRST_HOUR_NS + number * HOUR_NS + at // size * MINUTE_NS + at % size
    return found


def records(seq: int, held: RecordBatch) -> JournalRow:
    return JournalRow(seq, RowKind.RECORDS, FAR_NS, encode(held), TENANT, STREAM, KEY)


def control(seq: int, change: AnchorChange) -> JournalRow:
    return JournalRow(seq, RowKind.ANCHOR, FAR_NS, encode_anchor(change), TENANT, STREAM, KEY)


def profile(seq: int, to: Profile) -> JournalRow:
    return JournalRow(seq, RowKind.CONFIG, FAR_NS, encode_config(to), TENANT, STREAM, KEY)


@dataclass
class Heard:
    """What a folder has told, in order."""

    notes: list[AnchorNote] = field(default_factory=list)
    hours: list[DriftHour] = field(default_factory=list)
    lost: list[AnchorLoss] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    events: list[StreamEvent] = field(default_factory=list)

    def add(self, emitted: dict[int, Emitted]) -> None:
        for entry in emitted.values():
            self.notes += [row.note for row in entry.anchors]
            self.hours += [row.hour for row in entry.drift]
            self.lost += entry.anchors_lost
            self.findings += [row.finding for row in entry.findings]
            self.events += [row.event for row in entry.events]


def folded(rows: Sequence[JournalRow], *, restart: bool = False) -> tuple[Heard, Resident, Folder]:
    """Fold `rows`; with `restart` from a checkpoint before every one of them."""
    folder, heard = Folder(7, Limits(), pytest.fail), Heard()
    resident = folder.load(rows[0], None, 0)
    for row in rows:
        if restart:
            checkpoint = Checkpoint(resident.seq, folder.save(resident, 0).checkpoint.state)
            folder = Folder(7, Limits(), pytest.fail)
            resident = folder.load(row, checkpoint if resident.seq else None, 0)
        heard.add(folder.fold(resident, [row]))
    return heard, resident, folder


def story(
    seed: int = 3, *, share: float = 0.5, hours: tuple[int, int, int] = (8, 8, 14), size: int = 20, **settings: object
) -> list[JournalRow]:
    """A baseline, an anchor, hours like it, hours with a `share` of other lines, and hours like it again."""
    usual = iid(seed)
    change = AnchorChange(AnchorSettings(**settings), freeze=Freeze()) if settings else FREEZE  # type: ignore[arg-type]
    rows = [profile(1, PROFILE), records(2, hour(usual, 0, 20)), control(3, change)]
    steady, odd, again = hours
    for number in range(1, steady + odd + again + 1):
        lines = mixed(seed + number, share) if steady < number <= steady + odd else usual
        rows.append(records(len(rows) + 1, hour(lines, number, size=size)))
    return rows
