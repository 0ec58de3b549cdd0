"""What people said: it is shown as it was journaled, learned as it was journaled, and written down once."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from driftlock.engine.anchor_state import restore_anchoring
from driftlock.engine.event import Signal
from driftlock.engine.lesson_record import lesson_bytes, lessons_from
from driftlock.engine.ports import FindingRow, RowKind
from driftlock.engine.records import decode_lesson, decode_redaction
from driftlock.engine.state import unpack
from driftlock.engine.testing import MemoryJournal
from driftlock.storage.anchors import _columns_of
from driftlock.v1 import state_pb2
from tests.simulation.facts import different
from tests.simulation.tables import JRow
from tests.simulation.world import World

SAID = frozenset({RowKind.LESSON, RowKind.ANCHOR, RowKind.REDACTION})
SCORED = (RowKind.RECORDS, RowKind.TIME)
ACTIONS = {
    "feedback.given": RowKind.LESSON,
    "feedback.withdrawn": RowKind.LESSON,
    "anchor.changed": RowKind.ANCHOR,
    "redaction.changed": RowKind.REDACTION,
}
Taught = dict[UUID, tuple[int, bytes]]  # by finding: the position of its lesson, and the lesson


def said(world: World, memory: MemoryJournal) -> list[str]:
    """All that is wrong with anchors, lessons and redaction rules; `memory` is what the reference fold made of the journal."""
    found = _told(world)
    if not any(row.kind in SAID for row in world.facts.history):
        return found
    tables = world.tables
    anchors = {known: _columns_of(row) for known, row in memory.anchors.items()}
    hours = {
        key: (row.stream_id, row.tenant_id, row.hour.distance, row.hour.windows, row.hour.recent, row.hour.since_ns)
        for key, row in memory.drift.items()
    }
    found += different("anchor", tables.anchors, anchors)
    found += different("hour", tables.drift, hours)
    found += list(_taught(world))
    found += list(_learned(world, memory))
    found += _rules(world)
    return found + _noted(world)


def _told(world: World) -> list[str]:
    """Nobody is told of what is silenced, in the feed, in an incident or in a chart; of all else they are."""
    tables, kinds = world.tables, {row.seq: row.kind for row in world.facts.history}
    fed = {anomaly for _, anomaly, _ in tables.live.values()}
    found: list[str] = []
    flagged: Counter[UUID] = Counter()
    for step in world.facts.steps:
        for row in step.findings:
            if row.silenced_by is None:
                flagged[row.stream_id] += kinds.get(row.seq) in SCORED
            elif row.finding_id in fed or tables.anomalies[row.finding_id]["incident_id"] is not None:
                found.append(f"finding {row.finding_id} is silenced and told")
    for sign, scores in ((1, tables.scores), (-1, world.base.tables.scores)):
        for (stream_id, _), score in scores.items():
            flagged[stream_id] -= sign * score[3]
    return found + [f"charts of {known} have {-by} findings too many" for known, by in flagged.items() if by]


def _taught(world: World) -> Iterator[str]:
    """Feedback is what lessons in the journal say; what silences a finding was taught before its row, and not taken back."""
    taught: dict[UUID, Taught] = {}
    silenced: dict[int, list[FindingRow]] = {}
    for step in world.facts.steps:
        for finding in step.findings:
            if finding.silenced_by is not None:
                silenced.setdefault(finding.seq, []).append(finding)
    for row in world.facts.history:
        if row.kind == RowKind.LESSON and row.stream_id is not None:
            _take(row, taught.setdefault(row.stream_id, {}))
        for finding in silenced.pop(row.seq, ()):
            if finding.silenced_by not in taught.get(finding.stream_id, {}):
                yield f"finding {finding.finding_id} is silenced by what was not taught"
    if silenced:
        yield f"findings of rows {sorted(silenced)} are silenced, which are not journaled"
    shown: dict[UUID, Taught] = {known: {} for known in taught}
    for anomaly_id, given in world.tables.feedback.items():
        if given[6] is not None:
            shown.setdefault(given[2], {})[anomaly_id] = (given[7], given[6])
    yield from different("what is shown of lessons of stream", shown, taught)


def _take(row: JRow, lessons: Taught) -> None:
    """What a stream has been taught after a row with a lesson."""
    change = decode_lesson(row.body)
    for gone in (change.finding_id, *change.forgotten):
        lessons.pop(gone, None)
    if change.lesson is not None:
        lessons[change.finding_id] = (row.seq, lesson_bytes(change.lesson))


def _learned(world: World, memory: MemoryJournal) -> Iterator[str]:
    """The states of streams of lines know the lessons, and the settings of anchors, that are shown."""
    tables = world.tables
    newest = {row.stream_id: row.seq for row in world.facts.history if row.kind == RowKind.ANCHOR}
    yield from different(
        "the newest change of the anchor of", {it: row[0] for it, row in tables.anchor_settings.items()}, newest
    )
    for stream_id, stream in tables.streams.items():
        saved = memory.stream_checkpoints.get(stream_id)
        if stream.key.signal is not Signal.LOGS or saved is None:
            continue
        state = unpack(state_pb2.StreamState(), saved.state)
        learned = [lesson_bytes(lesson) for lesson in lessons_from(state.lessons)]
        shown = sorted((row[7], row[6]) for row in tables.feedback.values() if row[2] == stream_id and row[6] is not None)
        if learned != [lesson for _, lesson in shown]:
            yield f"stream {stream_id} has learned {len(learned)} lessons, {len(shown)} are shown"
        settings = tuple(asdict(restore_anchoring(state.anchor).settings).values()) if state.HasField("anchor") else None
        if stream_id in tables.anchor_settings and settings not in (None, tables.anchor_settings[stream_id][1:]):
            yield f"the settings of the anchor of {stream_id} are {settings}"


def _rules(world: World) -> list[str]:
    """The rules in force are those of the newest record of their stream, or tenant."""
    said: dict[tuple[UUID | None, UUID | None], tuple[int, list[dict[str, Any]]]] = {}
    for row in world.facts.history:
        if row.kind == RowKind.REDACTION:
            said[row.tenant_id, row.stream_id] = (row.seq, [asdict(rule) for rule in decode_redaction(row.body)])
    stored: Mapping[Any, Any] = {key: (seq, json.loads(rules)) for key, (seq, rules) in world.tables.rules.items()}
    return different("rules of", stored, said)


def _noted(world: World) -> list[str]:
    """Every record is noted once, by who has made it."""
    rows = Counter(row.kind for row in world.facts.history if row.kind in SAID)
    noted = Counter(ACTIONS[action] for _, action, _ in world.tables.audit.values())
    return [f"{noted[kind]} of {rows[kind]} records of kind {kind} are noted" for kind in SAID if rows[kind] != noted[kind]]
