"""The stream folds in memory, each on its worker thread: loaded when there is something for them, saved when it is due."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID

from driftlock.engine.era import Eras
from driftlock.engine.event import Signal
from driftlock.engine.folding import Clocks, Emitted, Folder, Resident
from driftlock.engine.kinds import Saved
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.losses import Losses
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind, ServiceGraph, StateStore, StreamStatus
from driftlock.engine.records import raw_bytes
from driftlock.engine.traces.detector import TraceDetector

T = TypeVar("T")
LOOK_PERIOD_NS = SECOND_NS
"""So often all streams in memory are looked at for checkpoints that are due."""
LARGE_STATE_PERIODS = 10
"""So many checkpoint periods a state of more than `checkpoint_bytes` may wait for the next one."""
STREAM_BYTES = 256 * 1024
"""About what the fold of an ordinary stream takes in memory."""
TRACE_TABLES_BYTES = 768 * 1024
"""What the fold of a stream of traces takes beside its open traces, as measured of one that is new."""
SERIES_BYTES = 12 * 1024
"""What a series of a metrics stream takes in memory: 8 KiB in the kernel, the rest beside it."""


@dataclass(slots=True)
class SavedStreams:
    """Checkpoints of streams by (tenant, stream), and the series that go with them."""

    streams: dict[tuple[UUID, UUID], Checkpoint] = field(default_factory=dict)
    series: dict[tuple[UUID, UUID, int], Checkpoint] = field(default_factory=dict)
    dropped: dict[tuple[UUID, UUID], tuple[int, ...]] = field(default_factory=dict)
    graphs: dict[tuple[UUID, UUID], ServiceGraph] = field(default_factory=dict)

    def add(self, resident: Resident, saved: Saved) -> None:
        """Take what was saved of one stream."""
        ids = resident.tenant_id, resident.stream_id
        self.streams[ids] = saved.checkpoint
        for number, state in saved.series.items():
            self.series[*ids, number] = Checkpoint(saved.checkpoint.seq, state)
        if saved.forgotten:
            self.dropped[ids] = saved.forgotten
        if saved.graph is not None:
            self.graphs[ids] = ServiceGraph(saved.checkpoint.seq, resident.fold.clock.watermark_ns, saved.graph)


def weight(resident: Resident) -> int:
    """How many ordinary streams a stream counts as in memory."""
    if isinstance(resident.fold, TraceDetector):
        return 1 + (TRACE_TABLES_BYTES + resident.fold.traces.bytes) // STREAM_BYTES
    if isinstance(resident.fold, NumberDetector):
        return 1 + SERIES_BYTES * len(resident.fold.memory.table) // STREAM_BYTES
    return 1


def records_bytes(row: JournalRow) -> int:
    """About what the records of a row take when they are not compressed: how much work they are."""
    return raw_bytes(row.body) if row.batch is None else row.batch.size_bytes


class Residents:
    """Each stream belongs to one thread; which one does not matter to its fold, nor who else is in memory.

    There are at most `resident_streams_max` by their `weight`; the longest unused leave first. Those that the newest rows were
    for stay, whatever they weigh: to write and read large ones at every step would take longer than to fold what they are sent.
    """

    def __init__(
        self,
        states: StateStore,
        *,
        seed: int,
        limits: Limits,
        bounds: DispatchLimits,
        on_fault: Callable[[str], None],
        losses: Losses | None = None,
        eras: Eras | None = None,
    ) -> None:
        """`close` has to be called when they are not needed any more; `losses` and `eras` as of `Folder`."""
        losses = Losses() if losses is None else losses
        self._states = states
        self._bounds = bounds
        self._threads = ThreadPoolExecutor(bounds.threads, thread_name_prefix="fold")
        self._folders = [Folder(seed, limits, on_fault, losses, eras) for _ in range(bounds.threads)]
        self._held: OrderedDict[UUID, Resident] = OrderedDict()
        self._newest: Set[UUID] = frozenset()  # what the newest rows were for
        self._weights: dict[UUID, int] = {}
        self._weight = 0  # of all of them
        self._looked_ns = 0  # when all of them were last looked at for checkpoints that are due

    def close(self) -> None:
        """Leave what is under way; its results are lost, the journal has the rows."""
        for folder in self._folders:
            folder.abandon()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        """Stream folds in memory."""
        return len(self._held)

    def statuses(self, stream_ids: Iterable[UUID]) -> tuple[StreamStatus, ...]:
        """What lists show of streams in memory."""
        return tuple(self._held[stream_id].status() for stream_id in sorted(stream_ids))

    async def fold(
        self, rows: Sequence[JournalRow], clocks: Clocks, due: Mapping[UUID, UUID], now_ns: int
    ) -> dict[tuple[int, UUID], Emitted]:
        """Bring the streams of `rows` past them; what they emitted, by position and stream, in that order.

        The clock records among `rows`, which are `clocks`, are told to these streams, and to those in `due` (stream -> tenant),
        which may have something to say to them. A row at or before the checkpoint of a fold is skipped by that fold.
        """
        heads = await self._heads(rows, due)
        self._newest = frozenset(heads)
        by_stream: dict[UUID, list[JournalRow]] = {stream_id: [] for stream_id in heads}
        for row in rows:
            if row.stream_id is not None:
                by_stream[row.stream_id].append(row)
        missing = [stream_id for stream_id in heads if stream_id not in self._held]
        checkpoints = await self._states.load_streams(missing) if missing else {}
        numeric = [stream_id for stream_id, head in heads.items() if _is_numeric(head)]

        def loaded(folder: Folder, stream_id: UUID) -> Resident:
            return self._held.get(stream_id) or folder.load(heads[stream_id], checkpoints.get(stream_id), now_ns)

        if numeric:
            await self._give_back(numeric, by_stream, loaded)

        def work(folder: Folder, share: list[UUID]) -> tuple[list[Resident], dict[tuple[int, UUID], Emitted]]:
            residents, emitted = [], {}
            for stream_id in share:
                resident = loaded(folder, stream_id)
                found = folder.fold(resident, by_stream[stream_id], clocks, asked=stream_id in due)
                emitted.update({(seq, stream_id): entry for seq, entry in found.items()})
                residents.append(resident)
            return residents, emitted

        emitted: dict[tuple[int, UUID], Emitted] = {}
        inline = sum(map(records_bytes, rows)) <= self._bounds.inline_bytes
        for residents, part in self._inline(work, by_stream) if inline else await self._on_threads(work, by_stream):
            emitted.update(part)
            self._hold(residents)
        return dict(sorted(emitted.items()))

    async def _heads(self, rows: Sequence[JournalRow], due: Mapping[UUID, UUID]) -> dict[UUID, JournalRow]:
        """A row for each stream that has to be folded, which says whose it is: its first, or a clock record made out to it."""
        heads: dict[UUID, JournalRow] = {}
        clock = None
        for row in rows:
            if row.stream_id is not None:
                heads.setdefault(row.stream_id, row)
            elif row.kind is RowKind.CLOCK:
                clock = clock or row
        waiting = sorted(due.keys() - heads.keys()) if clock is not None else []
        keys = await self._states.stream_keys(waiting) if waiting else {}
        for stream_id in waiting:
            if clock is not None and stream_id in keys:
                heads[stream_id] = replace(clock, tenant_id=due[stream_id], stream_id=stream_id, stream_key=keys[stream_id])
        return heads

    async def _give_back(
        self,
        numeric: Sequence[UUID],
        by_stream: Mapping[UUID, list[JournalRow]],
        loaded: Callable[[Folder, UUID], Resident],
    ) -> None:
        """Read the series that the rows of metrics streams speak of and that are not in memory."""

        def work(folder: Folder, share: list[UUID]) -> list[tuple[Resident, list[int]]]:
            residents = [loaded(folder, stream_id) for stream_id in share]
            return [(resident, folder.absent(resident, by_stream[resident.stream_id])) for resident in residents]

        for part in await self._on_threads(work, numeric):
            for resident, absent in part:
                self._hold([resident])
                if absent and resident.numbers is not None:
                    found = await self._states.load_series(resident.stream_id, resident.seq, absent)
                    self._folders[0].missed(resident, [number for number in absent if number not in found])
                    resident.numbers.admit(found)

    def _shares(self, stream_ids: Iterable[UUID]) -> list[tuple[Folder, list[UUID]]]:
        shares: list[list[UUID]] = [[] for _ in self._folders]
        for stream_id in stream_ids:
            shares[stream_id.int % len(shares)].append(stream_id)
        return [(folder, share) for folder, share in zip(self._folders, shares, strict=True) if share]

    async def _on_threads(self, work: Callable[[Folder, list[UUID]], T], stream_ids: Iterable[UUID]) -> list[T]:
        loop, shares = asyncio.get_running_loop(), self._shares(stream_ids)
        return list(await asyncio.gather(*(loop.run_in_executor(self._threads, work, *share) for share in shares)))

    def _inline(self, work: Callable[[Folder, list[UUID]], T], stream_ids: Iterable[UUID]) -> list[T]:
        """At once: of little work more time would go into the change of threads. Nothing else runs on the folders then."""
        return [work(*share) for share in self._shares(stream_ids)]

    def _hold(self, residents: Iterable[Resident]) -> None:
        for resident in residents:
            self._held[resident.stream_id] = resident
            self._held.move_to_end(resident.stream_id)
            weighs = weight(resident)
            self._weight += weighs - self._weights.get(resident.stream_id, 0)
            self._weights[resident.stream_id] = weighs

    async def save_due(self, now_ns: int, *, everything: bool) -> SavedStreams:
        """Checkpoints of streams that are due or have to leave memory."""
        leaving = set(self._surplus())
        due = []
        for stream_id in self._looked_at(now_ns, leaving, everything=everything):
            resident = self._held[stream_id]
            if resident.dirty_bytes and (everything or stream_id in leaving or self._is_due(resident, now_ns)):
                due.append(resident)
        if len(due) > self._bounds.step_checkpoints_max:
            del due[self._bounds.step_checkpoints_max :]
            self._looked_ns = 0  # the rest has waited long enough, too

        def save() -> SavedStreams:
            saved = SavedStreams()
            for resident in due:
                saved.add(resident, self._folders[0].save(resident, now_ns))
            return saved

        return await asyncio.get_running_loop().run_in_executor(self._threads, save) if due else SavedStreams()

    def _looked_at(self, now_ns: int, leaving: Set[UUID], *, everything: bool) -> Iterable[UUID]:
        """Who may be due: those that have just grown or have to go, and now and then, for some have waited long, everyone."""
        if everything or abs(now_ns - self._looked_ns) >= LOOK_PERIOD_NS:
            self._looked_ns = now_ns
            return list(self._held)
        return sorted((self._newest | leaving) & self._held.keys())

    def _is_due(self, resident: Resident, now_ns: int) -> bool:
        """Whether enough has happened. A large state, of many open traces, is not written again for a few records."""
        bounds, periods = self._bounds, (now_ns - resident.saved_ns) // self._bounds.checkpoint_period_ns
        if resident.dirty_bytes >= max(bounds.checkpoint_bytes, resident.state_bytes):
            return True
        return periods >= 1 and (resident.state_bytes <= bounds.checkpoint_bytes or periods >= LARGE_STATE_PERIODS)

    def trim(self) -> None:
        """Let streams leave memory that are too many: the longest unused first, as far as they are saved."""
        for stream_id in self._surplus():
            if self._held[stream_id].dirty_bytes:
                break
            del self._held[stream_id]
            self._weight -= self._weights.pop(stream_id)

    def _surplus(self) -> list[UUID]:
        """Streams that have to leave memory, the longest unused first."""
        surplus = self._weight - self._bounds.resident_streams_max
        if surplus <= 0:
            return []
        leaving = []
        for stream_id in self._held:
            if surplus <= 0:
                break
            if stream_id not in self._newest:
                leaving.append(stream_id)
                surplus -= self._weights[stream_id]
        return leaving


def _is_numeric(row: JournalRow) -> bool:
    return row.stream_key is not None and row.stream_key.signal is Signal.METRICS
