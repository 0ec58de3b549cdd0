"""How the thresholds of streams came to be what they are: every change of a profile, automatic steps, and their undoing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import SYSTEM, Actor
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.lessons import Verdict
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, BadOverride, Profile, custom
from driftlock.engine.tuning import LABELS_MAX, Label, Proposal, propose, tuned_members
from driftlock.engine.verdict import Question
from driftlock.errors import Conflict, NotFound, PreconditionFailed
from driftlock.storage.audit import note
from driftlock.storage.columns import text
from driftlock.storage.control_journal import ControlJournal
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database
from driftlock.storage.streams import stored_profile

ENTRIES_MAX = 1000
"""Entries kept of one stream; older ones go when a newer one is stored."""

SELECT = "select t.n, t.at, t.kind, t.before, t.after, t.reason, t.undoes, t.undone_by from driftlock.tuning t"
LIST = SELECT + " where t.stream_id = $2 and ($3::bigint is null or t.n < $3) order by t.n desc limit $1"
GET = SELECT + " where t.stream_id = $1 and t.n = $2"
PROFILE = "select s.profile from driftlock.streams s where s.id = $1"
SWITCHED = "select s.auto_tune from driftlock.streams s where s.id = $1"
SWITCH = "update driftlock.streams s set auto_tune = $3 where s.id = $1 and s.tenant_id = $2 and s.auto_tune <> $3 returning 1"
LOCKED = "select s.auto_tune from driftlock.streams s where s.id = $1 and s.tenant_id = $2 for no key update"
TUNED = "select s.tenant_id, s.id from driftlock.streams s where s.auto_tune and s.id > $1 order by s.id limit $2"
OF_STREAM = """
select s.signal, s.service, s.namespace, s.environment, s.profile,
       (select (extract(epoch from max(t.at)) * 1000000000)::bigint from driftlock.tuning t
         where t.stream_id = s.id) as changed_ns
  from driftlock.streams s where s.id = $1 and s.tenant_id = $2 and s.auto_tune
"""
LABELS = """
select f.verdict, f.question, f.ncd, f.p_value, f.ncd_threshold, f.p_value_threshold,
       (extract(epoch from f.given_at) * 1000000000)::bigint as given_ns
  from driftlock.feedback f where f.stream_id = $1 order by f.given_at desc, f.anomaly_id limit $2
"""
# The entry that the change of the profile has just written, in the same transaction.
EXPLAIN = """
update driftlock.tuning t set kind = $2, reason = $3, undoes = $4
 where t.stream_id = $1 and t.n = (select max(k.n) from driftlock.tuning k where k.stream_id = $1) returning t.n
"""
UNDONE = "update driftlock.tuning set undone_by = $3 where stream_id = $1 and n = $2"


class TuningKind(StrEnum):
    """Who changed a profile."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class TuningRow:
    """One change of a profile, the `n`-th of its stream, of `before` to `after`."""

    n: int
    at: datetime
    kind: TuningKind
    before: Profile
    after: Profile
    reason: str = ""
    undoes: int | None = None
    undone_by: int | None = None


class Tuning:
    """The tuning of streams of one tenant at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database, journal: ControlJournal) -> None:
        """`database` must be entered before use; `journal` is where profiles are configured."""
        self._database = database
        self._journal = journal

    async def list(self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: int | None = None) -> Sequence[TuningRow]:
        """One page, the newest first; `after` is the number of the last entry of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, check_limit(limit), stream_id, after)
        return [_entry(row) for row in rows]

    async def automatic(self, tenant_id: UUID, stream_id: UUID) -> bool:
        """Whether the stream's thresholds follow feedback."""
        async with self._database.tenant(tenant_id) as connection:
            return bool(await connection.fetchval(SWITCHED, stream_id))

    async def switch(
        self, tenant_id: UUID, stream_id: UUID, actor: Actor, *, automatic: bool, expected: bool | None = None
    ) -> None:
        """Let thresholds follow feedback, or not; raise `PreconditionFailed` when it is not as `expected` by then."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                if expected is not None and await connection.fetchval(LOCKED, stream_id, tenant_id) is not expected:
                    raise PreconditionFailed("this was switched since you read it: get it again and repeat your change")
                if await connection.fetchval(SWITCH, stream_id, tenant_id, automatic):
                    await note(connection, tenant_id, actor, "tuning.switched", str(stream_id), {"automatic": automatic})

        await self._database.node(work)

    async def undo(self, tenant_id: UUID, stream_id: UUID, number: int, actor: Actor) -> TuningRow:
        """Put back the values that a change has changed, and none besides; the entry of doing so.

        Raises `NotFound` for a change that is not known, `Conflict` where later ones have changed the same values, which it
        names, or where the profile that would come of it can not be.
        """
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(GET, stream_id, number)
            stored = await connection.fetchval(PROFILE, stream_id)
        if row is None:
            raise NotFound("there is no such change of this stream's profile; GET /v1/streams/{id}/tuning lists them")
        entry = _entry(row)
        if entry.undone_by is not None:
            raise Conflict(f"this change was undone already, by change {entry.undone_by}")
        if entry.before == entry.after:
            raise Conflict("this change named the values that held before, so there is nothing to undo")
        now = _profile(stored)
        wanted = _without(entry, now)
        made: list[int] = []

        async def beside(connection: Connection, _: int) -> None:
            made.append(await _explain(connection, stream_id, TuningKind.UNDO, f"change {number} was undone", number))
            await connection.execute(UNDONE, stream_id, number, made[-1])
            await note(connection, tenant_id, actor, "tuning.undone", str(stream_id), {"n": number, "by": made[-1]})

        try:
            await self._journal.configure(tenant_id, stream_id, wanted, expected=now, beside=beside)
        except Conflict:
            raise Conflict("the profile of this stream was changed at the same moment: look at it, and try again") from None
        if not made:
            raise Conflict(f"the values that held before change {number} hold by now, so there is nothing to undo")
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(GET, stream_id, made[-1])
        if row is None:
            raise NotFound("the stream is gone")
        return _entry(row)

    async def tuned(self, after: UUID, limit: int) -> Sequence[tuple[UUID, UUID]]:
        """Streams of any tenant whose thresholds follow feedback, by id, each after its tenant; those after an id."""
        rows = await self._database.node(lambda connection: connection.fetch(TUNED, after, limit))
        return [(row["tenant_id"], row["id"]) for row in rows]

    async def step(self, tenant_id: UUID, stream_id: UUID, now_ns: int) -> Proposal | None:
        """Look at a stream's feedback, and take the step that it asks for; what was done, None where nothing was.

        `now_ns` is the wall clock. Nothing is done either where somebody changes the profile in the same moment.
        """
        stream, labels = await self._database.node(lambda connection: _looked_up(connection, tenant_id, stream_id))
        if stream is None:
            return None
        key = StreamKey(Signal(stream["signal"]), stream["service"], stream["namespace"], stream["environment"])
        profile = _profile(stream["profile"])
        proposal = propose(profile, tuned_members(key), labels, now_ns, stream["changed_ns"] or 0)
        if proposal is None:
            return None
        change = {"member": proposal.member, "before": proposal.before, "after": proposal.after}

        async def beside(connection: Connection, _: int) -> None:
            await _explain(connection, stream_id, TuningKind.AUTOMATIC, proposal.reason, None)
            await note(connection, tenant_id, SYSTEM, "tuning.stepped", str(stream_id), change)

        try:
            await self._journal.configure(tenant_id, stream_id, proposal.profile, expected=profile, beside=beside)
        except (Conflict, NotFound):
            return None
        return proposal


def _without(entry: TuningRow, now: Profile) -> Profile:
    """The profile in force without what a change did. Raises `Conflict` where a later one has changed the same values."""
    before, after = asdict(entry.before), asdict(entry.after)
    changed = [name for name in after if name != "name" and before[name] != after[name]]
    later = [name for name in changed if getattr(now, name) != after[name]]
    if later:
        raise Conflict(
            f"a later change of this stream's profile has taken the place of this one: {', '.join(later)}; "
            "undo that first, or set the profile"
        )
    if now == entry.after:
        return entry.before  # by its own name
    back = {name: before[name] for name in changed}
    if "codec" in back:
        back.setdefault("codec_level", now.codec_level)  # rather than the default one of the codec
    try:
        return custom(now, back)
    except BadOverride as error:
        raise Conflict(f"what this change has changed does not go with later changes: {error.message}") from None


async def _looked_up(connection: Connection, tenant_id: UUID, stream_id: UUID) -> tuple[asyncpg.Record | None, list[Label]]:
    stream = await connection.fetchrow(OF_STREAM, stream_id, tenant_id)
    rows = [] if stream is None else await connection.fetch(LABELS, stream_id, LABELS_MAX)
    return stream, [_label(row) for row in rows]


async def _explain(connection: Connection, stream_id: UUID, kind: TuningKind, reason: str, undoes: int | None) -> int:
    number: int = await connection.fetchval(EXPLAIN, stream_id, kind.value, text(reason), undoes)
    return number


def _label(row: asyncpg.Record) -> Label:
    return Label(
        Verdict(row["verdict"]),
        Question(row["question"]),
        row["ncd"],
        row["p_value"],
        row["ncd_threshold"],
        row["p_value_threshold"],
        row["given_ns"],
    )


def _profile(stored: Any) -> Profile:
    return PROFILES[DEFAULT_PROFILE] if stored is None else stored_profile(stored)


def _entry(row: asyncpg.Record) -> TuningRow:
    return TuningRow(
        row["n"],
        row["at"],
        TuningKind(row["kind"]),
        _profile(row["before"]),
        _profile(row["after"]),
        row["reason"],
        row["undoes"],
        row["undone_by"],
    )
