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
from driftlock.engine.correlation.flag import ALERTS_PER_DAY_MAX, Flag, Progress, Watch
from driftlock.engine.correlation.pooling import Pool
from driftlock.engine.correlation.state import TenantParts, tenant_bytes, tenant_from
from driftlock.engine.correlation.stories import Moment, Stories
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
        self._progress: dict[UUID, Progress] = {}
        self._reached: dict[UUID, int] = {}
        """The bucket of the newest flag of each stream in `progress` that had one."""
        self._pending: list[Flag] = []
        self._watches: dict[UUID, Watch] = {}
        self._pool = Pool(tenant_id, limits)
        self._stories = Stories(tenant_id, limits, Budget(limits))
        self._found: list[FindingRow] = []

    def waiting_at(self, now_ns: int) -> bool:
        """Whether a clock record of that time can bring the fold further."""
        return self._unfinished() or any(not watch.told and watch.due_ns <= now_ns for watch in self._watches.values())

    def _unfinished(self) -> bool:
        return bool(self._pending) or bool(self._pool.waiting) or self._stories.live(self._silent())

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
        self, stream_id: UUID, progress: Progress, flags: Iterable[Flag], summaries: Iterable[Summary] = ()
    ) -> list[IncidentRow]:
        """Take what a stream's fold emitted for one journal row."""
        self._progress[stream_id] = progress
        watch = self._watches.get(stream_id)
        if watch is None or watch.due_ns != progress.due_ns:  # a row without records changes nothing
            self._watches.pop(stream_id, None)
            if progress.due_ns:
                self._watches[stream_id] = Watch(progress.due_ns)
        self._pending.extend(flags)
        self._pool.take(stream_id, summaries, progress)
        waits = bool(self._pending) or bool(self._pool.waiting)
        if not waits and not self._stories.open:
            return []
        moving = min(entry.watermark_ns for entry in self._progress.values()) if waits else 0
        full = len(self._pending) > self._limits.pending_flags_max or self._pool.full
        return self._advance(moving, everything=full)

    def clock(self, now_ns: int) -> list[IncidentRow]:
        """Take a clock record: it closes buckets, and ends what has been quiet for long unless it replays the past."""
        self._clock_ns = max(self._clock_ns, now_ns)
        rows = self._advance(self._clock_ns - self._limits.bucket_grace_ns, everything=False)
        quiet_ns = self._clock_ns - self._limits.incident_idle_ns
        waiting = {flag.stream_id for flag in self._pending}
        for stream_id in [known for known, progress in self._progress.items() if progress.received_ns < quiet_ns]:
            if stream_id not in waiting:
                del self._progress[stream_id]
                self._reached.pop(stream_id, None)
        rows.extend(self._end())
        return latest(rows)

    def first_due_ns(self) -> int | None:
        """The earliest time by which a stream is called silent; None when none will be without further records."""
        return min((watch.due_ns for watch in self._watches.values() if not watch.told), default=None)

    def due(self, now_ns: int) -> list[UUID]:
        """Streams whose silence may be worth telling at `now_ns`, and was not told since their last records; by id."""
        return sorted(stream_id for stream_id, watch in self._watches.items() if not watch.told and watch.due_ns <= now_ns)

    def closing(self, now_ns: int) -> list[UUID]:
        """Streams that have to be told that it is `now_ns`, by id: something in them is over by then."""
        return sorted(stream_id for stream_id, it in self._progress.items() if it.closes_ns and it.closes_ns <= now_ns)

    def give_up(self, now_ns: int) -> None:
        """Wait no more for streams that are due at `now_ns` and did not answer: until they have records, they never will."""
        for stream_id in self.due(now_ns):
            del self._watches[stream_id]

    def silent(self, flag: Flag) -> list[IncidentRow] | None:
        """Take the flag that a stream is silent; None when that is known, or when it is not to be told of this stream.

        Its incident ends when the stream has come back and gone on for the usual gap.
        """
        watch = self._watches.get(flag.stream_id)
        if watch is None or watch.told:
            return None
        watch.told = True
        return latest(self._stories.join(flag, flag.end_ns // self._limits.bucket_ns))

    def _silent(self) -> set[UUID]:
        return {stream_id for stream_id, watch in self._watches.items() if watch.told}

    def _buckets(self) -> dict[UUID, int]:
        """The bucket of each pending flag. Event times may step back, windows do not: a flag waits for those before it."""
        reached = dict(self._reached)
        buckets = {}
        for flag in sorted(self._pending, key=lambda flag: flag.window):
            bucket = max(reached.get(flag.stream_id, 0), flag.end_ns // self._limits.bucket_ns)
            buckets[flag.finding_id] = reached[flag.stream_id] = bucket
        return buckets

    def _advance(self, until_ns: int, *, everything: bool) -> list[IncidentRow]:
        buckets = self._buckets()
        over = until_ns // self._limits.bucket_ns
        due = [flag for flag in self._pending if everything or buckets[flag.finding_id] < over]
        if due:
            taken = {flag.finding_id for flag in due}
            self._pending = [flag for flag in self._pending if flag.finding_id not in taken]
        for together in self._pool.close(None if everything else until_ns // MINUTE_NS, self._progress):
            self._found.append(together.row)
            due.append(together.flag)
            buckets[together.flag.finding_id] = together.flag.end_ns // self._limits.bucket_ns
        # What is about many services goes first, so that those of one find the story that they belong to.
        due.sort(
            key=lambda it: (buckets[it.finding_id], not it.across, it.stream, it.window, it.end_ns, it.finding_id),
        )
        rows: list[IncidentRow] = []
        for flag in due:
            bucket = buckets[flag.finding_id]
            if flag.stream_id in self._progress:
                self._reached[flag.stream_id] = max(bucket, self._reached.get(flag.stream_id, 0))
            rows.extend(self._stories.join(flag, bucket))
        rows.extend(self._end())
        return latest(rows)

    def _end(self) -> list[IncidentRow]:
        return self._stories.end(
            Moment(
                progress=self._progress,
                pending=self._pending,
                silent=self._silent(),
                clock_ns=self._clock_ns - self._limits.bucket_grace_ns,
            )
        )

    def to_bytes(self) -> bytes:
        """The bytes from which `restore` continues."""
        return tenant_bytes(
            TenantParts(
                clock_ns=self._clock_ns,
                progress=self._progress,
                reached=self._reached,
                pending=self._pending,
                watches=self._watches,
                stories=list(self._stories.open.values()),
                budget=self._stories.budget,
                resources=self._pool.resources,
                waiting=self._pool.waiting,
            )
        )

    def restore(self, body: bytes) -> None:
        """Continue from the bytes of `to_bytes`; raises `Internal` when they are damaged."""
        parts = tenant_from(body, self._limits)
        self._clock_ns, self._progress, self._reached = parts.clock_ns, parts.progress, parts.reached
        self._pending, self._watches = parts.pending, parts.watches
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
