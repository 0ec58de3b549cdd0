"""A journal in memory that can be read back, and threads that are none."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from driftlock.engine.event import RecordBatch
from driftlock.storage.excerpts import ExcerptRow, Look, Reach, Scan

Result = TypeVar("Result")


class InlineExecutor(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # as executors do
            future.set_exception(error)
        return future


@dataclass
class FakeExcerpts:
    """Rows by tenant and stream. Each is a page. `reaches` are those that were asked for."""

    rows: dict[tuple[UUID, UUID], list[ExcerptRow]] = field(default_factory=lambda: defaultdict(list))
    environments: dict[UUID, list[tuple[UUID, str]]] = field(default_factory=lambda: defaultdict(list))
    states: dict[tuple[UUID, UUID], bytes] = field(default_factory=dict)
    reaches: list[Reach] = field(default_factory=list)
    cut: bool = False

    def add(self, tenant_id: UUID, stream_id: UUID, received_ns: int, batch: RecordBatch) -> None:
        rows = self.rows[tenant_id, stream_id]
        rows.append(ExcerptRow(len(rows) + 1, received_ns, batch))

    async def scan(self, tenant_id: UUID, stream_id: UUID, reach: Reach, look: Look, *, bytes_max: int | None = None) -> Scan:  # noqa: ARG002
        self.reaches.append(reach)
        held = self.rows.get((tenant_id, stream_id), [])
        since = 0 if reach.since_ns is None else reach.since_ns
        until = 2**64 if reach.before_ns is None else reach.before_ns
        seen: list[ExcerptRow] = []
        enough = False
        rows = [row for row in held if since <= row.received_ns < until]
        for row in reversed(rows) if reach.newest_first else rows:
            seen.append(row)
            if not look([row]):
                enough = True
                break
        return Scan(
            held_since_ns=held[0].received_ns if held else None,
            first_ns=min((row.received_ns for row in seen), default=None),
            last_ns=max((row.received_ns for row in seen), default=None),
            rows=len(seen),
            records=sum(len(row.batch) for row in seen),
            cut=self.cut,
            enough=enough,
        )

    async def trace_streams(self, tenant_id: UUID) -> Sequence[tuple[UUID, str]]:
        return self.environments[tenant_id]

    async def state(self, tenant_id: UUID, stream_id: UUID) -> bytes | None:
        return self.states.get((tenant_id, stream_id))
