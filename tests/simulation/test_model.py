"""The simulated database does what PostgreSQL does with the very same statements, for sequences that nobody thought of."""

import zlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from driftlock.engine.anchor import AnchorCause, AnchorEnd, AnchorNote, AnchorSettings, AnchorSource, AnchorStanding
from driftlock.engine.drift import HOUR_NS, DriftHour
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.fold import GraphEdge
from driftlock.engine.ports import (
    AnchorLoss,
    AnchorRow,
    Checkpoint,
    DriftRow,
    FindingRow,
    IncidentRow,
    RowKind,
    ServiceGraph,
    Step,
    StreamEventRow,
    StreamStatus,
)
from driftlock.engine.scores import MinuteScore, ScoreRow
from driftlock.engine.verdict import Incident, IncidentState, StreamEvent, StreamEventKind
from driftlock.storage import (
    anchors,
    audit,
    backlog,
    checkpoints,
    controls,
    drift,
    feedback,
    journal,
    journal_reader,
    ledger,
    recovery,
    redaction,
    retention,
    series_states,
    stream_ids,
)
from driftlock.storage.lanes import NODE_ROLE
from driftlock.storage.slugs import slug, unique_slug
from tests.conftest import EMPTY, Urls
from tests.simulation.sides import ACQUIRE, Sides
from tests.simulation.tables import Tenant
from tests.storage.helpers import NOW_NS, SECOND_NS, finding

TENANTS = {UUID(int=1): Tenant("one", 3), UUID(int=2): Tenant("two", 2, 0, None, 2 * SECOND_NS)}
NOBODY = UUID(int=9)
BYTES_MAX = 12_000
FAR_NS = NOW_NS + 10**13
KEYS = [StreamKey(Signal.LOGS, name) for name in ("a", "b", "a b", "a-b")] + [
    StreamKey(Signal.TRACES, "_traces", "", "prod"),
    StreamKey(Signal.METRICS, "a"),
]
EXAMPLES = 12
tenants = st.sampled_from([*TENANTS, *TENANTS, NOBODY])
places = st.integers(0, 3)
moments = st.integers(0, 12).map(lambda seconds: NOW_NS + seconds * SECOND_NS)
requests = st.tuples(
    st.sampled_from(list(TENANTS)),
    st.none() | st.integers(0, 3),  # which hash
    st.none() | st.integers(0, 1),  # which content
    st.none() | st.sampled_from([0, SECOND_NS, 60 * SECOND_NS]),
    moments,
    st.lists(st.tuples(places, st.integers(0, 3), st.integers(0, 120)), min_size=1, max_size=3),
    st.integers(0, 2),  # rejected
)
seldom = st.sampled_from([False] * 7 + [True])
appends = st.tuples(st.just("append"), st.lists(requests, min_size=1, max_size=4), seldom)
steps = st.tuples(
    st.just("step"), st.sampled_from([0, 1, 2, 100, 100]), seldom, st.lists(st.tuples(places, st.integers(0, 3)), max_size=6)
)
truncations = st.tuples(
    st.just("truncate"), st.sampled_from([NOW_NS, FAR_NS, FAR_NS]), st.sampled_from([0, 1000, BYTES_MAX]), seldom
)
operations = st.one_of(
    appends,
    appends,
    steps,
    steps,
    truncations,
    truncations,
    st.tuples(st.just("let_go"), st.booleans()),
    st.tuples(st.just("empty"), st.integers(0, 15), seldom),
    st.tuples(st.just("tenant_closed"), st.sampled_from(list(TENANTS)), seldom),
    st.tuples(st.just("resolve"), tenants, st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)),
    st.tuples(st.just("clock"), moments, seldom),
    st.tuples(st.just("time"), tenants, places, moments),
    st.tuples(st.just("budget"), tenants, st.integers(0, 2)),
    st.tuples(
        st.just("configure"), tenants, places, st.integers(0, 1), st.booleans(), st.none() | st.integers(0, 1), st.booleans()
    ),
    st.tuples(st.just("forget"), moments, st.integers(1, 3)),
    st.tuples(st.just("ledger"), st.lists(st.tuples(tenants, st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=3)),
    st.tuples(st.just("acquire")),
    *[st.tuples(st.just("say"), tenants, places, st.sampled_from([7, 7, 8, 9]), st.integers(0, 3), seldom)] * 3,
    st.tuples(st.just("keep"), st.integers(0, 2)),
    st.tuples(
        st.just("read"),
        st.integers(0, 8),
        st.sampled_from([1, 200, 10_000]),
        st.integers(1, 9),
        st.lists(st.integers(1, 9), unique=True),
    ),
)


class Case:
    """Plays operations on both sides. Positions, streams and epochs are chosen among those that there are by then."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.seen: set[str] = set()

    @property
    def epoch(self) -> int:
        return self.sides.model.shard.epoch

    def stream(self, place: int) -> UUID:
        known = list(self.sides.model.streams)
        return known[place % len(known)] if known else NOBODY

    def of_tenant(self, tenant_id: UUID, place: int) -> UUID | None:
        known = [known for known, stream in self.sides.model.streams.items() if stream.tenant_id == tenant_id]
        return known[place % len(known)] if known else None

    async def play(self, name: str, *values: Any) -> None:
        await getattr(self, name)(*values)
        self.seen.add(name)

    async def acquire(self) -> None:
        await self.sides.both(ACQUIRE, 0)

    async def append(self, group: list[Any], stale: bool) -> None:
        columns: list[list[Any]] = [[] for _ in range(14)]
        for number, (tenant_id, hashed, content, window, received_ns, rows, rejected) in enumerate(group, 1):
            cells = [(self.of_tenant(tenant_id, place), records, size) for place, records, size in rows]
            cells = [cell for cell in cells if cell[0] is not None]
            if not cells:
                return
            names = (None if hashed is None else bytes([hashed]) * 16, None if content is None else bytes([content]))
            rest = (window, received_ns, sum(cell[1] for cell in cells) + rejected, rejected)
            for column, value in zip(columns[:8], (tenant_id, "logs", *names, *rest), strict=True):
                column.append(value)
            for stream_id, records, size in cells:
                body = bytes(size)
                cell = (number, stream_id, records, size * 3, zlib.crc32(body), body)
                for column, value in zip(columns[8:], cell, strict=True):
                    column.append(value)
        epoch = self.epoch - 1 if stale else self.epoch
        await self.sides.both(journal.APPEND, 0, epoch, "n", 5 * SECOND_NS, BYTES_MAX, *columns)

    async def resolve(self, tenant_id: UUID, keys: list[StreamKey]) -> None:
        parts = [[key.signal.value, key.service, key.namespace, key.environment, slug(key), unique_slug(key)] for key in keys]
        await self.sides.both(stream_ids.RESOLVE, tenant_id, *(list(column) for column in zip(*parts, strict=True)), 0, 0)

    async def clock(self, moment_ns: int, stale: bool) -> None:
        await self.sides.both(journal.APPEND_CLOCK, 0, self.epoch - stale, moment_ns, 7, b"clock")

    async def time(self, tenant_id: UUID, place: int, moment_ns: int) -> None:
        await self.sides.both(journal.APPEND_TIME, 0, self.epoch, tenant_id, self.stream(place), moment_ns, 7, b"time")

    async def budget(self, tenant_id: UUID, alerts: int) -> None:
        await self.sides.both(journal.SET_BUDGET, 0, self.epoch, BYTES_MAX, tenant_id, alerts, 7, b"budget")

    async def configure(self, tenant_id: UUID, place: int, to: int, fresh: bool, expected: int | None, default: bool) -> None:
        profiles = ['{"name": "x", "size": 1}', '{"size": 2}']
        wanted = None if expected is None else profiles[expected]
        arguments = (tenant_id, self.stream(place), profiles[to], 7, b"config", fresh, wanted, default)
        await self.sides.both(journal.CONFIGURE, 0, self.epoch, BYTES_MAX, *arguments)

    async def truncate(self, before_ns: int, kept: int, stale: bool) -> None:
        epoch = self.epoch - stale
        await self.sides.both(retention.CLOSE, 0, epoch, before_ns, kept)
        slots = len(self.sides.model.slots)
        for _ in range(slots + 1):
            due = await self.sides.both(retention.DUE, 0, before_ns, kept)
            if due is None:
                return
            held = (due["tenant_ids"] or [], due["signals"] or [], due["records"] or [])
            await self.sides.both(retention.EMPTY, 0, epoch, due["slot"], due["first_seq"], *held)

    async def empty(self, number: int, wrong: bool) -> None:
        """A slot that is closed, whether it may be emptied or not, or one that is not."""
        slot = self.sides.model.slots.get(number % 16)
        first_seq = 1 if slot is None else slot.first_seq + wrong
        held = ([*TENANTS, NOBODY], ["logs"] * 3, [1, 2, 3])
        await self.sides.both(retention.EMPTY, 0, self.epoch, number % 16, first_seq, *held)

    async def tenant_closed(self, tenant_id: UUID, closed: bool) -> None:
        await self.sides.tenant_closed(tenant_id, closed)

    async def let_go(self, saved: bool) -> None:
        """Apply everything, with checkpoints or without, and empty what can be emptied."""
        await self.step(100, False, [(place, 1) for place in range(len(self.sides.model.streams))] if saved else [])
        await self.truncate(FAR_NS, 0, False)

    async def forget(self, now_ns: int, rows_max: int) -> None:
        if rows_max < len(self.sides.model.requests):  # which of equals go first is nobody's business
            rows_max = 100
        await self.sides.both(retention.FORGET, now_ns, rows_max)

    async def ledger(self, rows: list[tuple[UUID, int, int]]) -> None:
        columns = [[row[0] for row in rows], ["logs"] * len(rows), [row[1] + row[2] for row in rows]]
        await self.sides.both(ledger.ADD, "n", *columns, [row[1] for row in rows], [row[2] for row in rows])

    async def read(self, after: int, bytes_max: int, rows_max: int, known: list[int]) -> None:
        model = self.sides.model
        after = max(0, min(after + model.shard.truncated_seq, model.shard.next_seq - 1))
        await self.sides.both(journal_reader.READ, 0, after, bytes_max, rows_max, known)
        await self.sides.both(journal_reader.LAST, 0)
        await self.sides.both(backlog.POSITIONS, 0)
        await self.sides.both(backlog.SPANS, 0, after, model.shard.next_seq - 1, rows_max, 200)
        for sql in (recovery.STREAM_FOLDS, recovery.TENANT_FOLDS):
            await self.folds(sql)
        ids = list(model.streams)
        for stream_id in ids:
            await self.sides.both(checkpoints.LOAD_STREAMS, [stream_id])
            await self.sides.both(checkpoints.KEYS, [stream_id])
            await self.sides.both(series_states.LOAD, stream_id, after, [1, 2])
        for tenant_id in TENANTS:
            await self.sides.both(checkpoints.LOAD_TENANTS, [tenant_id])

    async def say(self, tenant_id: UUID, place: int, kind: int, number: int, stale: bool) -> None:
        """A control record, and beside it what is shown: both sides have to know the same of it afterwards."""
        both = self.sides.both
        known = self.of_tenant(tenant_id, place % 2) if number else self.stream(place)
        stream_id = None if kind == RowKind.REDACTION and number == 3 else known or NOBODY
        arguments = (BYTES_MAX, tenant_id, stream_id, kind, 7, b"said")
        seq = await both(controls.CONTROL, 0, self.epoch - stale, *arguments)
        if not isinstance(seq, int):
            return
        if kind == RowKind.REDACTION:
            await self._rule(tenant_id, stream_id, number, seq)
        elif kind == RowKind.ANCHOR:
            await both(anchors.NEWEST, stream_id)
            values = ((None, None), (0.5, True), (None, False), (0.2, None))[number]
            await both(anchors.SET, stream_id, tenant_id, seq, *values, 0.35, False)
        else:
            assert stream_id is not None
            await self._teach(tenant_id, stream_id, number, seq)
        await both(audit.NOTE, tenant_id, "system", "", "driftlock", "said", str(stream_id), "{}", "", "")

    async def _teach(self, tenant_id: UUID, stream_id: UUID, number: int, seq: int) -> None:
        both, anomaly_id = self.sides.both, UUID(int=stream_id.int ^ number % 2)
        for sql in (feedback.ANOMALY, feedback.GET):
            await both(sql, anomaly_id)
        for sql in (feedback.OF_STREAM, feedback.LESSONS):
            await both(sql, stream_id)
        await both(feedback.STANDING, stream_id, tenant_id)
        if number == 3:
            await both(feedback.FORGET, stream_id, [UUID(int=stream_id.int ^ seq % 3), anomaly_id])
        for verdict, by in (("expected", "me"), ("confirmed", "you")):  # the later one stands
            said = (verdict, number, by, b"lesson" if number else None, seq, by, "novelty", 0.5, 0.25, 0.5, float(seq))
            await both(feedback.PUT, anomaly_id, tenant_id, stream_id, *said)
        if number == 2:
            await both(feedback.WITHDRAW, anomaly_id, NOBODY if seq % 2 else tenant_id)

    async def _rule(self, tenant_id: UUID, stream_id: UUID | None, number: int, seq: int) -> None:
        both = self.sides.both
        await both(redaction.ONE, tenant_id, stream_id)
        await both(redaction.ADD_KEY, tenant_id, bytes([number]) * 32)
        await both(redaction.REMOVE, tenant_id, stream_id)
        await both(redaction.ADD, tenant_id, stream_id, seq, '[{"name": "x"}]' if number else "[]")
        await both(redaction.STATE)
        await both(redaction.ALL)

    async def keep(self, offset: int) -> None:
        for sql in (anchors.KEEP, drift.KEEP):
            await self.sides.both(sql, list(self.sides.model.streams), offset)

    async def folds(self, sql: str) -> None:
        await self.sides.both(sql, 0)

    async def step(self, forward: int, wrong: bool, saved: list[tuple[int, int]]) -> None:
        model = self.sides.model
        start = model.applied_seq + wrong
        end = min(model.applied_seq + forward, model.shard.next_seq - 1)
        if end < start:
            return
        made = Step(start, end)
        for place, window in saved:
            stream_id = self.stream(place)
            tenant_id = model.streams[stream_id].tenant_id if stream_id in model.streams else NOBODY
            made = _with(made, tenant_id, stream_id, window)
        await self.sides.step(made)


def _with(step: Step, tenant_id: UUID, stream_id: UUID, window: int) -> Step:
    """A step that says something more about a stream."""
    ids = (tenant_id, stream_id)
    saved = Checkpoint(step.to_seq, bytes([window]))
    silenced_by = UUID(int=5) if window == 2 else None
    row = FindingRow(*ids, UUID(int=stream_id.int ^ window), finding(window), window and step.to_seq, silenced_by)
    step = _with_anchors(step, tenant_id, stream_id, window)
    story = Incident(UUID(int=stream_id.int ^ 99), (stream_id,), IncidentState.OPEN, 1, 2 + window, window, 0.5, 0.1, "t")
    incident = IncidentRow(tenant_id, story, (row.finding_id,), 5 if window else None)
    return Step(
        step.from_seq,
        step.to_seq,
        (*step.findings, row),
        (*(it for it in step.incidents if it.incident.incident_id != story.incident_id), incident),
        (*step.streams, StreamStatus(*ids, window, 1, 2, 3, "ok", 0, "r")),
        (*step.events, StreamEventRow(*ids, StreamEvent(StreamEventKind.CALIBRATED, window, 1, 2, "r"))),
        {**step.stream_checkpoints, ids: saved},
        {**step.series_checkpoints, (*ids, 1): saved, (*ids, 2 + window % 2): saved},
        {ids: (2,)} if window == 3 else {},
        {**step.tenant_checkpoints, tenant_id: saved},
        {**step.graphs, ids: ServiceGraph(step.to_seq, window, (GraphEdge("a", "b", 1, 0, 0.1, 0.2, 1, 2),))}
        if window
        else step.graphs,
        anchors=step.anchors,
        drift=step.drift,
        anchors_lost=step.anchors_lost,
        scores=step.scores,
    )


def _with_anchors(step: Step, tenant_id: UUID, stream_id: UUID, window: int) -> Step:
    """What became of anchors of a stream, of which it has two, and what was scored."""
    one, other = (UUID(int=stream_id.int ^ number) for number in (200, 201))
    anchor_id = other if window == 1 else one
    ended = (step.to_seq, 7, AnchorEnd.RESET, "another") if window == 2 else ()
    standing = (AnchorStanding.REFUSED, AnchorStanding.IN_FORCE, AnchorStanding.ENDED, AnchorStanding.IN_FORCE)[window]
    measured = (1, 2, "zstd", 3, f"v{window}", 5, 10, 100, 0.5 + window / 10)
    said = (standing, AnchorSource.BASELINE, AnchorCause.REQUEST)
    row = AnchorRow(tenant_id, stream_id, AnchorNote(anchor_id, step.to_seq + 1, *said, *measured, *ended))
    hour = DriftHour(anchor_id, (step.to_seq + window) * HOUR_NS, 0.5, 2, 0.25 if window else None, window)
    kept = other if step.to_seq % 2 else None
    loss = AnchorLoss(tenant_id, stream_id, step.to_seq + 1, kept, AnchorSettings(0.25, True))
    score = ScoreRow(tenant_id, stream_id, MinuteScore(step.to_seq % 2, 1, window, 1, 0.5, window / 4, 1 / (1 + window)))
    losses = [it for it in step.anchors_lost if it.stream_id != stream_id]
    return replace(
        step,
        anchors=(*step.anchors, row),
        drift=(*step.drift, DriftRow(tenant_id, stream_id, hour)),
        anchors_lost=(*losses, loss) if window == 3 else step.anchors_lost,
        scores=(*(it for it in step.scores if it.stream_id != stream_id), score),
    )


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(operations, min_size=50, max_size=70))
async def test_both_sides_say_the_same(database_urls: Urls, owner: "asyncpg.Connection[Any]", played: list[Any]) -> None:
    await owner.execute(EMPTY)
    for known, tenant in TENANTS.items():
        insert = "insert into driftlock.tenants (id, name, streams_max, dedup_window_ns) values ($1, $2, $3, $4)"
        await owner.execute(insert, known, tenant.name, tenant.streams_max, tenant.dedup_window_ns)
    node = await asyncpg.connect(database_urls.app, server_settings={"role": NODE_ROLE})
    try:
        case = Case(Sides(node, owner, TENANTS))
        await case.acquire()
        for known in TENANTS:
            await case.resolve(known, KEYS[:2])
        for operation in played:
            await case.play(*operation)
        await case.sides.same_tables()
    finally:
        await node.close()
