"""Bundles of findings that the applier made over a journal in memory, for the tests of evidence."""

from dataclasses import replace
from uuid import UUID

from driftlock.engine.anchor import AnchorChange, Freeze
from driftlock.engine.era import versions
from driftlock.engine.evidence_bundle import Material
from driftlock.engine.evidence_replay import absent_series
from driftlock.engine.lessons import LessonChange
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import Checkpoint, FindingRow, RowKind, Step, StreamBatch, Submission
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.records import encode_anchor, encode_lesson, encode_redaction
from driftlock.engine.redaction import Rule
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from tests.engine import test_dispatch_numbers, test_dispatch_silence, test_dispatch_traces
from tests.engine.dispatching import TENANT, applier
from tests.engine.streams import BASE_NS, KEY, batch
from tests.engine.test_detector import with_burst

SEED = 7  # of tests.engine.dispatching
SAID = {
    RowKind.LESSON: encode_lesson(LessonChange(UUID(int=5), None, (UUID(int=6),))),
    RowKind.ANCHOR: encode_anchor(AnchorChange(freeze=Freeze())),
    RowKind.REDACTION: encode_redaction([Rule("mail", kind="email")]),
}


class KeepingJournal(MemoryJournal):
    """Keeps every checkpoint of streams, so that a test may take whichever it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[UUID, list[Checkpoint]] = {}

    async def commit(self, step: Step) -> None:
        await super().commit(step)
        for (_, stream_id), saved in step.stream_checkpoints.items():
            self.kept.setdefault(stream_id, []).append(saved)


def keeping(journal: MemoryJournal) -> KeepingJournal:
    """The same journal, before anything was applied."""
    made = KeepingJournal()
    made.rows, made._keys, made.profiles = journal.rows, journal._keys, journal.profiles
    return made


async def material_of(journal: KeepingJournal, row: FindingRow, *, back: int = 1, limits: Limits | None = None) -> Material:
    """What the finding is a function of, from the `back`-th checkpoint before its row on (0 = from the beginning)."""
    before = [it for it in journal.kept.get(row.stream_id, []) if it.seq < row.seq] if back else []
    base = before[-min(back, len(before))] if before else None
    since = 0 if base is None else base.seq
    rows = tuple(
        it
        for it in journal.rows[since : row.seq]
        if it.stream_id == row.stream_id or (it.seq == row.seq and it.kind is RowKind.CLOCK)
    )
    material = Material(
        tenant_id=row.tenant_id,
        stream_id=row.stream_id,
        finding_id=row.finding_id,
        key=journal._keys[row.tenant_id, row.stream_id],
        seed=SEED,
        limits=limits or Limits(),
        versions=versions(),
        driftlock_version="0.0.1",
        eras=(),
        base=base,
        series={},
        rows=rows,
        finding=row.finding.to_json(),
    )
    if base is None:
        return material
    found = await journal.load_series(row.stream_id, base.seq, absent_series(material))
    return replace(material, series=dict(found))


async def lines_found(codec: str = "statistical") -> tuple[KeepingJournal, FindingRow]:
    """A stream of lines with a burst of what was never seen, and the first finding of it.

    Before it people said all that can be said of a stream.
    """
    journal, stream_id = KeepingJournal(), memory_stream_id(TENANT, KEY)
    await journal.create_stream(TENANT, KEY, custom(PROFILES["balanced"], {"codec": codec, "codec_level": 1}))
    lines = with_burst(2600, 2800)
    for start in range(0, len(lines), 200):
        if start == 2400:
            for kind, body in SAID.items():
                await journal.append_control(TENANT, stream_id, kind, body)
        part = batch(lines[start : start + 200], start)
        at_ns = BASE_NS + (start + 200) * SECOND_NS
        await journal.submit(Submission(TENANT, KEY.signal, at_ns, (StreamBatch(KEY, part),)))
    async with applier(journal, DispatchLimits(threads=2, inline_bytes=0, checkpoint_bytes=1, read_bytes_max=1)) as running:
        await running.scored(len(journal.rows))
    return journal, next(iter(journal.findings.values()))


async def numbers_found() -> tuple[KeepingJournal, FindingRow]:
    """A metrics stream in which one series jumps while others are not in memory."""
    journal = keeping(await test_dispatch_numbers.filled())
    async with test_dispatch_numbers.dispatcher(journal, Limits(series_resident_max=2)):
        pass
    return journal, next(iter(journal.findings.values()))


async def traces_found() -> tuple[KeepingJournal, FindingRow]:
    """A stream of traces in which one service becomes slow; what is open at the end is closed by the time."""
    journal = keeping(await test_dispatch_traces.told())
    async with test_dispatch_traces.running(journal, limits=replace(test_dispatch_traces.LIMITS, read_bytes_max=16 * 1024)):
        pass
    return journal, next(iter(journal.findings.values()))


async def silence_found() -> tuple[KeepingJournal, FindingRow]:
    """A stream that stopped, which a clock record noticed."""
    journal = keeping(await test_dispatch_silence.spoken())
    async with test_dispatch_silence.dispatcher(journal, 10):
        pass
    return journal, next(iter(journal.findings.values()))


async def all_materials() -> dict[str, Material]:
    """One of each kind, from the newest checkpoint before it."""
    return {
        "lines": await material_of(*await lines_found()),
        "zstd": await material_of(*await lines_found("zstd")),
        "numbers": await material_of(*await numbers_found()),
        "traces": await material_of(*await traces_found()),
        "silence": await material_of(*await silence_found()),
    }
