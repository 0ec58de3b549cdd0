"""What `driftlock doctor` says of shards for workers: whose they are, how far they are, and what is missing."""

from collections.abc import Iterator, Sequence

from driftlock.storage.dead_letters import DeadLetters
from driftlock.storage.pool import Database
from driftlock.storage.shard import ONLY_SHARD
from driftlock.storage.shard_standing import ShardOverview, read_owners
from server.check import Check, State
from server.settings import Settings

NAMED_MAX = 5
"""So many shards are named; of more only how many there are."""


async def check_shards(settings: Settings, database: Database, shards: Sequence[ShardOverview]) -> list[Check]:
    """Nothing where there is only the shard of a server. Raises `Unavailable`."""
    if len(shards) == 1:
        return []
    owners = await read_owners(database)
    dead = await DeadLetters(database).count()
    return [*_shards(settings, shards), _owners(owners), _offsets(shards), *_gaps(shards), _dead(dead)]


def _shards(settings: Settings, shards: Sequence[ShardOverview]) -> Iterator[Check]:
    of_workers = [it for it in shards if it.shard != ONLY_SHARD]
    here, there = sum(it.tenants for it in shards) - sum(it.tenants for it in of_workers), sum(it.tenants for it in of_workers)
    text = f"{len(of_workers)} for workers with {there} tenants, and that of a server with {here}"
    if settings.kafka is None:
        yield Check(State.OK, "shards", text)
        return
    if len(of_workers) < settings.kafka_partitions:
        wanted = settings.kafka_partitions
        yield Check(State.FAIL, "shards", f"{text}: {wanted} partitions need more; run `driftlock migrate --shards {wanted}`")
    elif here:
        text = f"{text}: messages of the latter become dead letters; see `driftlock tenant move`"
        yield Check(State.WARN, "shards", text)
    else:
        yield Check(State.OK, "shards", text)


def _owners(owners: Sequence[str]) -> Check:
    if not owners:
        return Check(State.WARN, "owners", "no process owns a shard now, as far as this role may see: nothing is scored")
    return Check(State.OK, "owners", f"processes that own shards: {'; '.join(owners)}")


def _offsets(shards: Sequence[ShardOverview]) -> Check:
    read = [it for it in shards if it.next_offset is not None]
    newest = max((it.advanced_at for it in read if it.advanced_at is not None), default=None)
    when = "" if newest is None else f", the newest at {newest:%Y-%m-%d %H:%M:%S} UTC"
    messages = sum(it.next_offset or 0 for it in read)
    return Check(State.OK, "offsets", f"{messages} messages were read from {len(read)} partitions{when}")


def _gaps(shards: Sequence[ShardOverview]) -> Iterator[Check]:
    lost = [it for it in shards if it.gaps]
    if lost:
        newest = max(it.newest_gap_at for it in lost if it.newest_gap_at is not None)
        text = f"{sum(it.gaps for it in lost)} in {_named(lost)}, the newest found at {newest:%Y-%m-%d %H:%M:%S} UTC: "
        text += "Kafka let messages go before they were read; make its retention.ms longer (table source_gap)"
        yield Check(State.WARN, "gaps", text)
    else:
        yield Check(State.OK, "gaps", "every message that Kafka had was read")


def _dead(letters: int) -> Check:
    if letters:
        return Check(
            State.WARN, "dead letters", f"{letters} messages could not be journaled: see `driftlock dead-letters list`"
        )
    return Check(State.OK, "dead letters", "every message could be journaled")


def _named(shards: Sequence[ShardOverview]) -> str:
    if len(shards) > NAMED_MAX:
        return f"{len(shards)} shards"
    return f"shard{'s' * (len(shards) > 1)} {', '.join(str(it.shard) for it in shards)}"


def lag_of(shards: Sequence[ShardOverview], rows_warn: int) -> Check:
    """How many rows wait to be scored, in all shards together, and where most of them do."""
    rows, worst = sum(it.lag_rows for it in shards), max(shards, key=lambda it: it.lag_rows)
    where = f", {worst.lag_rows} of them in shard {worst.shard}" if len(shards) > 1 and rows else ""
    text = f"{rows} journal rows are not scored yet{where}"
    if worst.lag_rows <= rows_warn:
        return Check(State.OK, "lag", text)
    more = "or start more workers" if worst.shard else "or raise DRIFTLOCK_WORKER_THREADS"
    return Check(State.WARN, "lag", f"{text}: wait, {more}")
