"""The fold of a tenant: what its streams' folds emit, in an order that no shard or thread can change -> incidents.

Derived records wait in buckets of event time. A bucket is closed when every stream that is known to be moving has passed it,
or by a journaled clock record; then what all streams say of their numbers in it is pooled, and its flags are taken in the
order (bucket, stream, window), those of traces before all others. Which of them are one incident is told in
`driftlock.engine.correlation.stories`. In the same order the alert budget decides which incidents may alert; those that may
not are incidents all the same.

Streams that say nothing are asked by clock records whether their silence is worth telling. It is told once: the incident
stays open while the silence lasts.
"""

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from driftlock.engine.correlation.budget import Budget
from driftlock.engine.correlation.flag import ALERTS_PER_DAY_MAX, Flag, Progress
from driftlock.engine.correlation.pending import Pending
from driftlock.engine.correlation.pooling import Pool
from driftlock.engine.correlation.state import TenantParts, tenant_bytes, tenant_from
from driftlock.engine.correlation.stories import Moment, Stories
from driftlock.engine.correlation.story import Story
from driftlock.engine.correlation.streams import Streams
from driftlock.engine.correlation.watching import Watching
from driftlock.engine.fold import Summary
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.ports import FindingRow, IncidentRow

__all__ = ["ALERTS_PER_DAY_MAX", "Correlator", "Flag", "Progress", "latest"]


class Correlator:
    """State and fold of one tenant. Feed it in journal order; it returns the incidents that changed.

    Ask for `take_findings` after each call, and before `to_bytes`: findings about many series come from here.
    """

    def __init__(self, tenant_id: UUID, limits: Limits) -> None:
        self.tenant_id = tenant_id
        self._limits = limits
        self._clock_ns = 0
        self._streams = Streams()
        self._reached: dict[UUID, int] = {}
        """The bucket of the newest flag of each stream in `streams` that had one."""
        self._pending = Pending(limits.bucket_ns)
        self._watching = Watching()
        self._looked_ns = -1
        """How far the slowest stream was when all open incidents were looked at last."""
        self._pool = Pool(tenant_id, limits)
        self._stories = Stories(tenant_id, limits, Budget(limits))
        self._found: list[FindingRow] = []

    def waiting_at(self, now_ns: int) -> bool:
        """Whether a clock record of that time can bring the fold further."""
        return self._unfinished() or self._watching.waiting_at(now_ns)

    def _unfinished(self) -> bool:
        return bool(self._pending) or bool(self._pool.waiting) or self._stories.live(self._watching.silent)

    def set_budget(self, alerts_per_day_max: int) -> None:
        """Let the tenant have at most so many alerts in any 24 hours of event time, from here on."""
        self._stories.budget.alerts_per_day_max = alerts_per_day_max

    def budget_spent_share(self, now_ns: int) -> float:
        """Share of the tenant's budget that is spent in the 24 hours around `now_ns`, 0 to 1."""
        return self._stories.budget.spent_share(now_ns)

    def take_findings(self) -> list[FindingRow]:
        """What was found in the numbers of many series since the last call, each to be kept under its stream."""
        found, self._found = self._found, []
        return found

    def derived(
        self,
        stream_id: UUID,
        progress: Progress,
        flags: Iterable[Flag],
        summaries: Iterable[Summary] = (),
        *,
        remote: bool = False,
    ) -> list[IncidentRow]:
        """Take what a stream's fold emitted for one journal row; `remote`: in another shard, as the relay there tells it."""
        known = self._streams.progress.get(stream_id)
        self._streams.put(stream_id, progress)
        self._watching.heard(stream_id, progress.due_ns, remote=remote)
        for flag in flags:
            self._pending.add(flag, self._reached.get(flag.stream_id, 0))
        self._pool.take(stream_id, summaries, progress)
        waits = bool(self._pending) or bool(self._pool.waiting)
        if not waits and not self._stories.open:
            return []
        full = len(self._pending) > self._limits.pending_flags_max or self._pool.full
        bucket_ns, slowest_ns = self._limits.bucket_ns, self._streams.watermark_ns
        before_ns = known.watermark_ns if known is not None else -1
        steps = slowest_ns // bucket_ns != self._looked_ns // bucket_ns
        if progress.across and progress.watermark_ns // bucket_ns != before_ns // bucket_ns:
            steps = True
        rows, taken = self._advance(slowest_ns, everything=full)
        if steps:  # what waits for others may be over
            self._looked_ns = slowest_ns
            return latest([*rows, *self._end()])
        names = [name for flag in taken for name in flag.names]
        stream_ids = [stream_id, *(flag.stream_id for flag in taken)]
        return latest([*rows, *self._end(self._stories.concerned(stream_ids, (*names, progress.service)))])

    def clock(self, now_ns: int) -> list[IncidentRow]:
        """Take a clock record: it closes buckets, and ends what has been quiet for long unless it replays the past."""
        self._clock_ns = max(self._clock_ns, now_ns)
        rows, _ = self._advance(self._clock_ns - self._limits.bucket_grace_ns, everything=False)
        quiet_ns = self._clock_ns - self._limits.incident_idle_ns
        for stream_id in [known for known, it in self._streams.progress.items() if it.received_ns < quiet_ns]:
            if not self._pending.of_stream(stream_id):
                self._streams.remove(stream_id)
                self._reached.pop(stream_id, None)
        rows.extend(self._end())
        return latest(rows)

    def first_due_ns(self) -> int | None:
        """See `Watching.first_due_ns`."""
        return self._watching.first_due_ns()

    def due(self, now_ns: int) -> list[UUID]:
        """See `Watching.due`."""
        return self._watching.due(now_ns)

    def closing(self, now_ns: int) -> list[UUID]:
        """Streams that have to be told that it is `now_ns`, by id: something in them is over by then."""
        return sorted(stream_id for stream_id, it in self._streams.progress.items() if it.closes_ns and it.closes_ns <= now_ns)

    def postpone(self, stream_id: UUID, due_ns: int) -> bool:
        """See `Watching.postpone`."""
        return self._watching.postpone(stream_id, due_ns)

    def give_up(self, now_ns: int) -> None:
        """See `Watching.give_up`."""
        self._watching.give_up(now_ns)

    def silent(self, flag: Flag) -> list[IncidentRow] | None:
        """Take the flag that a stream is silent; None when that is known, or when it is not to be told of this stream.

        Its incident ends when the stream has come back and gone on for the usual gap.
        """
        if not self._watching.accepts(flag.stream_id):
            return None
        return latest(self._stories.join(flag, flag.end_ns // self._limits.bucket_ns))

    def _advance(self, until_ns: int, *, everything: bool) -> tuple[list[IncidentRow], list[Flag]]:
        """Take the flags of all buckets that are over: what became of incidents, and the flags."""
        due = self._pending.take(None if everything else until_ns // self._limits.bucket_ns)
        for together in self._pool.close(None if everything else until_ns // MINUTE_NS, self._streams.progress):
            self._found.append(together.row)
            due.append((together.flag.end_ns // self._limits.bucket_ns, together.flag))
        # What is about many services goes first, so that those of one find the story that they belong to.
        due.sort(key=lambda it: (it[0], not it[1].across, it[1].stream, it[1].window, it[1].end_ns, it[1].finding_id))
        rows: list[IncidentRow] = []
        for bucket, flag in due:
            if flag.stream_id in self._streams.progress:
                self._reached[flag.stream_id] = max(bucket, self._reached.get(flag.stream_id, 0))
            rows.extend(self._stories.join(flag, bucket))
        return rows, [flag for _, flag in due]

    def _end(self, among: Iterable[Story] | None = None) -> list[IncidentRow]:
        moment = Moment(
            streams=self._streams,
            pending=self._pending,
            silent=self._watching.silent,
            clock_ns=self._clock_ns - self._limits.bucket_grace_ns,
        )
        return self._stories.end(moment, among)

    def to_bytes(self) -> bytes:
        """The bytes from which `restore` continues."""
        return tenant_bytes(
            TenantParts(
                clock_ns=self._clock_ns,
                progress=self._streams.progress,
                reached=self._reached,
                pending=list(self._pending),
                watches=self._watching.watches,
                stories=list(self._stories.open.values()),
                budget=self._stories.budget,
                resources=self._pool.resources,
                waiting=self._pool.waiting,
            )
        )

    def restore(self, body: bytes) -> None:
        """Continue from the bytes of `to_bytes`; raises `Internal` when they are damaged."""
        parts = tenant_from(body, self._limits)
        self._clock_ns, self._reached, self._looked_ns = parts.clock_ns, parts.reached, -1
        self._streams = Streams()
        for stream_id, progress in parts.progress.items():
            self._streams.put(stream_id, progress)
        self._pending = Pending(self._limits.bucket_ns)
        self._pending.restore(parts.pending, parts.reached)
        self._watching = Watching(parts.watches)
        self._stories = Stories(self.tenant_id, self._limits, parts.budget)
        for story in parts.stories:
            self._stories.put(story)
        self._pool = Pool(self.tenant_id, self._limits)
        self._pool.resources = parts.resources
        for minute, resources in parts.waiting.items():
            for name, said in resources.items():
                self._pool.put(minute, name, said)


def latest(rows: Iterable[IncidentRow]) -> list[IncidentRow]:
    """One row an incident: its last form, and everything that joined it."""
    latest: dict[UUID, IncidentRow] = {}
    for row in rows:
        known = latest.get(row.incident.incident_id)
        if known is not None:
            row = replace(row, joined=known.joined + row.joined, told=known.told or row.told)
        latest[row.incident.incident_id] = row
    return list(latest.values())
