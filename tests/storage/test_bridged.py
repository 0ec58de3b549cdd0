"""What bridges have handed over is journaled once, in whatever groups and order it comes again."""

import dataclasses
import itertools
import random
from array import array
from uuid import UUID

import pytest

from collector.kafka.message import decode, encode
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.origin import Origin
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.selecting import selected
from driftlock.storage.bridged import Bridged
from driftlock.storage.pool import Database
from driftlock.storage.sourced import SourceBatch, SourceMessage
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS
from tests.storage.test_sourced import PARTITION, TOPIC, Reader, balanced

FOREIGN = "app-logs"
CART, TILL = StreamKey(Signal.LOGS, "cart"), StreamKey(Signal.LOGS, "till")


def lines(*texts: str) -> RecordBatch:
    raw = [text.encode() for text in texts]
    return RecordBatch(text=b"".join(raw), lengths=array("I", map(len, raw)), times_ns=array("Q", [NOW_NS] * len(raw)))


def group(tenant: UUID, base: int, start: int, stop: int, topic_id: str = "") -> Submission:
    """Messages from `start` up to before `stop`: the even ones are of one stream, the odd ones of another."""
    offsets = {CART: list(range(start + start % 2, stop, 2)), TILL: list(range(start + 1 - start % 2, stop, 2))}
    batches = tuple(StreamBatch(key, lines(*(f"<{at}>" for at in of))) for key, of in offsets.items() if of)
    return Submission(tenant, Signal.LOGS, NOW_NS, batches, origin=Origin(FOREIGN, 3, topic_id, base, offsets=offsets))


def request(tenant: UUID, offset: int, *keys: StreamKey) -> Submission:
    """One message with a record for each of some streams."""
    batches = tuple(StreamBatch(key, lines(f"<{offset} {key.service}>")) for key in keys)
    return Submission(tenant, Signal.LOGS, NOW_NS, batches, origin=Origin(FOREIGN, 3, "", 0, offset))


class Partition:
    """Our own partition: what is written into it is read by `reader`."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.at = reader, 0

    async def write(self, sent: Submission, *parts: int) -> list[int]:
        """Journal these parts of a submission, all without any; how many records of each were new."""
        made = encode(sent)
        chosen = [made[part] for part in parts] if parts else made
        messages = [
            SourceMessage(self.at + number, decode(it.value, it.headers), it.value, it.key, it.headers)
            for number, it in enumerate(chosen)
        ]
        batch = SourceBatch(TOPIC, PARTITION, self.at, self.at + len(messages), messages)
        self.at = batch.next_offset
        return [receipt.records for receipt in await self.reader.journal.append_from(batch) if receipt is not None]

    async def held(self) -> list[str]:
        """Every record that is journaled."""
        return sorted(record for row in await self.reader.held() for record in row.decode()[1:-1].split("><"))


@pytest.fixture
async def partition(sharded: Database) -> Partition:
    reader = Reader(sharded)
    await reader.shard.acquire()
    return Partition(reader)


@pytest.fixture
async def tenant(sharded: Database) -> UUID:
    return (await Tenants(sharded).create("t")).tenant_id


async def test_what_is_read_again_in_other_groups_is_journaled_once(partition: Partition, tenant: UUID) -> None:
    assert await partition.write(group(tenant, 0, 0, 6), 0) == [3]  # the rest of the group was never sent
    assert await partition.write(group(tenant, 0, 0, 4)) == [0, 2]
    assert await partition.write(group(tenant, 4, 4, 9)) == [2, 2]
    assert await partition.held() == sorted(map(str, range(9)))
    assert await balanced(partition.reader.database)


async def test_a_bridge_that_was_thought_dead_adds_nothing(partition: Partition, tenant: UUID) -> None:
    await partition.write(group(tenant, 0, 0, 4))
    await partition.write(group(tenant, 4, 4, 8))
    assert await partition.write(group(tenant, 0, 2, 6)) == [0, 0]
    assert await partition.held() == sorted(map(str, range(8)))


async def test_parts_of_a_message_are_journaled_once_each(partition: Partition, tenant: UUID) -> None:
    sent = request(tenant, 7, CART, TILL)
    assert await partition.write(sent, 1) == [1]
    assert await partition.write(sent) == [1, 0]
    assert await partition.write(sent) == [0, 0]


async def test_a_message_that_is_cut_otherwise_by_then_is_taken_twice_rather_than_never(
    partition: Partition, tenant: UUID
) -> None:
    await partition.write(request(tenant, 7, CART, TILL), 0)
    assert await partition.write(request(tenant, 7, TILL, CART)) == [1, 1]
    assert await partition.write(request(tenant, 7, CART, TILL)) == [0, 0]


async def test_a_topic_that_was_made_anew_is_another_one(partition: Partition, tenant: UUID) -> None:
    await partition.write(group(tenant, 0, 0, 4, "a1"))
    assert await partition.write(group(tenant, 0, 0, 4, "b2")) == [2, 2]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_bridges_do_every_message_is_taken_once(seed: int) -> None:
    """Bridges begin anew from what was acknowledged, group as they like, and write late: a log of what they wrote is read."""
    randomness, messages = random.Random(seed), 60
    written: list[tuple[int, list[int]]] = []  # base and offsets, in the order of the log
    late: list[tuple[int, list[int]]] = []  # of bridges that were cut off: comes whenever it does
    committed = 0
    while committed < messages:
        stop = min(messages, committed + randomness.randint(1, 12))
        window = list(range(committed, stop))
        streams = [[at for at in window if at % 3 == stream] for stream in range(3)]
        parts = [(committed, part) for part in streams if part]
        if randomness.random() < 0.4:  # killed before all was acknowledged
            there = randomness.randint(0, len(parts))
            written += parts[:there]
            late += parts[there:]
        else:
            written += parts
            committed = stop
        while late and randomness.random() < 0.3:
            written.append(late.pop(randomness.randrange(len(late))))
    known, taken = Bridged(), []
    for base, offsets in written + late:
        known = Bridged(known.base, known.done, known.parts)  # as it is kept in between
        left = known.left(Origin("t", 0, "", base, offsets={CART: offsets}), CART, len(offsets))
        taken += offsets if left is None else [offsets[number] for number in left]
    assert sorted(taken) == list(range(messages))
    assert len(known.done.split(",")) <= 12


def test_places_of_records_are_those_of_each_part_of_a_split() -> None:
    sent = group(UUID(int=1), 10, 10, 50)
    parts = [decode(it.value, it.headers) for it in encode(sent, body_bytes_max=100)]
    assert len(parts) > 2
    found = [
        (at, line)
        for part in parts
        if part.origin is not None
        for at, line in zip(part.origin.offsets[part.batches[0].key], part.batches[0].batch.lines(), strict=True)
    ]
    assert sorted(found) == [(at, f"<{at}>".encode()) for at in range(10, 50)]


def test_columns_of_selected_records_stay_together() -> None:
    batch = dataclasses.replace(
        lines("a", "bb", "ccc"),
        instances=("x", "y"),
        instance_index=array("I", [1, 0, 2]),
        trace_ids=bytes(itertools.chain(*([number] * 16 for number in range(3)))),
        span_ids=bytes(itertools.chain(*([number] * 8 for number in range(3)))),
    )
    found = selected(batch, [0, 2])
    assert (list(found.lines()), list(found.instance_index)) == ([b"a", b"ccc"], [1, 2])
    assert (found.trace_ids, found.span_ids) == (b"\0" * 16 + b"\2" * 16, b"\0" * 8 + b"\2" * 8)
