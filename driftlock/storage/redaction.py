"""Redaction rules: stored with the control record that says since when they hold, and kept in memory for whoever decodes."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.engine import records
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import RowKind
from driftlock.engine.redaction import KEY_BYTES, Redactor, Rule, TenantRules
from driftlock.errors import PreconditionFailed
from driftlock.storage.audit import note
from driftlock.storage.controls import Controls
from driftlock.storage.pool import Connection, Database

AGE_MAX_S = 4.5
"""Rules in memory that are older are read again before anything is decoded."""

ONE = """
select rules, seq, changed_at from driftlock.redaction_rules where tenant_id = $1 and stream_id is not distinct from $2::uuid
"""
REMOVE = "delete from driftlock.redaction_rules where tenant_id = $1 and stream_id is not distinct from $2::uuid"
ADD = "insert into driftlock.redaction_rules (tenant_id, stream_id, seq, rules) values ($1, $2, $3, $4)"
ADD_KEY = "insert into driftlock.redaction_keys (tenant_id, key) values ($1, $2) on conflict do nothing"
KEY = "select key from driftlock.redaction_keys where tenant_id = $1"
# Every change makes a row with another id; positions of several shards say nothing of which is the newest.
STATE = """
select count(*) as rows, coalesce(bit_xor(hashtextextended(r.id::text, 0)), 0)::bigint as ids from driftlock.redaction_rules r
"""
ALL = """
select r.tenant_id, r.rules, k.key, s.signal, s.service, s.namespace, s.environment
  from driftlock.redaction_rules r
  join driftlock.redaction_keys k on k.tenant_id = r.tenant_id
  left join driftlock.streams s on s.id = r.stream_id
 where r.rules <> '[]'::jsonb and (r.stream_id is null or s.closed_at is null)
 order by r.tenant_id
"""
NEVER = (-1, -1)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of a stream, or a tenant's own. They hold from position `seq` of the journal on; 0 = there never were any."""

    rules: tuple[Rule, ...] = ()
    seq: int = 0
    changed_at: datetime | None = None


class RedactionTable:
    """The rules of all tenants, as whoever decodes needs them: within a look-up of memory.

    They are read again when they have changed, which is asked at most every `age_max_s`: by `refresh`, which somebody calls all
    the time, or else by whoever needs rules. So a change holds in every process within that time; in the one that makes it, at
    once. Where they can not be read, nothing is decoded: a record that should have lost a secret must not be kept with it.
    """

    def __init__(self, database: Database, monotonic_s: Callable[[], float], age_max_s: float = AGE_MAX_S) -> None:
        """`monotonic_s` is a clock that never goes back, in seconds."""
        self._database = database
        self._monotonic_s = monotonic_s
        self._age_max_s = age_max_s
        self._state = NEVER
        self._read_s = float("-inf")
        self._tenants: dict[UUID, TenantRules] = {}
        self._reading = asyncio.Lock()

    async def rules(self, tenant_id: UUID) -> TenantRules | None:
        """The rules in force for a tenant; None where it has none. Raises `Unavailable` when they are not known."""
        if self._monotonic_s() - self._read_s > self._age_max_s:
            async with self._reading:
                if self._monotonic_s() - self._read_s > self._age_max_s:  # nobody else has read them meanwhile
                    await self._refresh()
        return self._tenants.get(tenant_id)

    async def refresh(self) -> None:
        """Read them again if anything has changed. Raises `Unavailable`."""
        async with self._reading:
            await self._refresh()

    async def _refresh(self) -> None:
        began_s = self._monotonic_s()

        async def work(connection: Connection) -> tuple[tuple[int, int], list[asyncpg.Record] | None]:
            if await _state(connection) == self._state:  # one round trip, as a rule: the database may be far away
                return self._state, None
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _state(connection), await connection.fetch(ALL)

        state, rows = await self._database.node(work)
        if rows is not None:
            self._tenants = _by_tenant(rows)
        self._state, self._read_s = state, began_s


async def _state(connection: Connection) -> tuple[int, int]:
    row = await connection.fetchrow(STATE)
    return NEVER if row is None else (row["rows"], row["ids"])


def _by_tenant(rows: Sequence[asyncpg.Record]) -> dict[UUID, TenantRules]:
    own: dict[UUID, tuple[Rule, ...]] = {}
    keys: dict[UUID, bytes] = {}
    streams: dict[UUID, dict[StreamKey, tuple[Rule, ...]]] = defaultdict(dict)
    for row in rows:
        tenant_id, rules = row["tenant_id"], stored_rules(row["rules"])
        keys[tenant_id] = row["key"]
        if row["signal"] is None:
            own[tenant_id] = rules
        else:
            key = StreamKey(Signal(row["signal"]), row["service"], row["namespace"], row["environment"])
            streams[tenant_id][key] = rules
    return {tenant_id: TenantRules(own.get(tenant_id, ()), streams[tenant_id], key) for tenant_id, key in keys.items()}


class RedactionRules:
    """Rules of one tenant at a time, to be shown and changed. Every method raises `Unavailable` when the database is away."""

    def __init__(
        self, database: Database, controls: Controls, table: RedactionTable, randomness: Callable[[int], bytes]
    ) -> None:
        """`table` is that of this process: what is changed here holds here at once. `randomness(n)`: n unpredictable bytes."""
        self._database = database
        self._controls = controls
        self._table = table
        self._randomness = randomness

    async def rules(self, tenant_id: UUID) -> TenantRules | None:
        """See `RedactionTable.rules`."""
        return await self._table.rules(tenant_id)

    async def get(self, tenant_id: UUID, stream_id: UUID | None) -> RuleSet:
        """The rules of a stream, without the tenant's; None: the tenant's own."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(ONE, tenant_id, stream_id)
        return _rule_set(row)

    async def put(
        self, tenant_id: UUID, stream_id: UUID | None, rules: Sequence[Rule], actor: Actor, expected: RuleSet | None = None
    ) -> RuleSet:
        """Let `rules`, which are right, hold for what comes in from now on, in place of those before.

        The rules that hold already change nothing. Raises `PreconditionFailed` when others than `expected` hold by then,
        `NotFound` for a stream that the tenant does not have.
        """
        before = await self.get(tenant_id, stream_id)
        if expected is not None and before.seq != expected.seq:
            raise _changed()
        if before.rules == tuple(rules):
            return before
        stored = json.dumps([asdict(rule) for rule in rules])
        key = self._randomness(KEY_BYTES)

        async def beside(connection: Connection, seq: int) -> None:
            now = _rule_set(await connection.fetchrow(ONE, tenant_id, stream_id))
            if now.seq != before.seq:
                raise _changed()
            await connection.execute(ADD_KEY, tenant_id, key)
            await connection.execute(REMOVE, tenant_id, stream_id)
            await connection.execute(ADD, tenant_id, stream_id, seq, stored)
            names = {"rules": [rule.name for rule in rules], "before": [rule.name for rule in before.rules], "seq": seq}
            await note(connection, tenant_id, actor, "redaction.changed", "" if stream_id is None else str(stream_id), names)

        await self._controls.append(tenant_id, stream_id, RowKind.REDACTION, records.encode_redaction(rules), beside)
        await self._table.refresh()
        return await self.get(tenant_id, stream_id)

    async def preview(self, tenant_id: UUID, rules: Sequence[Rule]) -> Redactor:
        """`rules` as they would work for the tenant: with its key, or another one where it has none yet."""
        key = await self._database.node(lambda connection: connection.fetchval(KEY, tenant_id))
        return Redactor(rules, key or self._randomness(KEY_BYTES))


def stored_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a row, which are a JSON list of objects."""
    return tuple(Rule(**rule) for rule in json.loads(text))


def _rule_set(row: asyncpg.Record | None) -> RuleSet:
    return RuleSet() if row is None else RuleSet(stored_rules(row["rules"]), row["seq"], row["changed_at"])


def _changed() -> PreconditionFailed:
    return PreconditionFailed("the rules were changed since you read them: get them again and repeat your change")
