"""How long a partition rests: after `kill -9` of the worker that has it, and while another worker joins."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
from confluent_kafka import Producer

from bench.kafka.load import PARTITIONS, Lines, messages
from bench.kafka.site import Rows, Site, Worker
from collector.kafka.message import KafkaMessage
from tests.conftest import Urls
from tests.e2e.harness import ROOT

SENDING_S, LOOK_S, PATIENCE_S = 0.02, 0.01, 60.0
OFFSETS = "select partition, next_offset from driftlock.source_position"


@dataclass
class _Watch:
    """When each partition was last seen to move, and the longest time in which it did not since `begin`."""

    offsets: dict[int, int] = field(default_factory=dict)
    moved_s: dict[int, float] = field(default_factory=dict)
    longest_s: dict[int, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget the past."""
        now_s = time.monotonic()
        self.longest_s = dict.fromkeys(range(PARTITIONS), 0.0)
        self.moved_s = {partition: max(now_s - LOOK_S, self.moved_s.get(partition, 0.0)) for partition in range(PARTITIONS)}

    def saw(self, offsets: Mapping[int, int]) -> None:
        """What stands in the database now."""
        now_s = time.monotonic()
        for partition, offset in offsets.items():
            if offset != self.offsets.get(partition):
                self.longest_s[partition] = max(self.longest_s.get(partition, 0.0), now_s - self.moved_s.get(partition, now_s))
                self.offsets[partition], self.moved_s[partition] = offset, now_s


async def rows(site: Site, sessions_s: tuple[int, ...]) -> Rows:
    """Two workers, one of which is killed; then one that another joins. A message comes to each partition 50 times a second."""
    found: Rows = []
    for session_s in sessions_s:
        found += await _with_session(site, session_s)
        found += await asyncio.to_thread(_members, site, session_s)
    return found


async def _with_session(site: Site, session_s: int) -> Rows:
    urls, topic = await site.database(), site.topic()
    watch = _Watch()
    tasks = [asyncio.create_task(_send(site, topic)), asyncio.create_task(_look(urls, watch))]
    try:
        variables = {"DRIFTLOCK_KAFKA_SESSION_SECONDS": str(session_s)}
        first = site.worker(urls, topic, **variables)
        await _until(tasks, lambda: len(watch.moved_s) == PARTITIONS)
        watch.begin()
        began_s = time.monotonic()
        second = site.worker(urls, topic, **variables)
        await _until(tasks, lambda: second.partitions() == first.partitions() == PARTITIONS // 2)
        joined_s = time.monotonic() - began_s
        theirs = _partitions(second)
        await _until(tasks, lambda: all(watch.moved_s[it] > began_s + joined_s for it in range(PARTITIONS)))
        joining = _row("a worker joins", session_s, watch, theirs)
        second.kill()
        site.workers.remove(second)
        watch.begin()
        await _until(tasks, lambda: all(watch.longest_s[it] > 1 for it in theirs))
        rest = _row("kill -9", session_s, watch, theirs)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    site.stop_workers()
    await site.cluster.drop(urls)
    return [joining, rest]


def _members(site: Site, session_s: int) -> Rows:
    """The same with members that do nothing: what of a move is the client's and the broker's."""
    topic = site.topic()
    command = [sys.executable, "-m", "bench.kafka.member", json.dumps([site.broker.address, topic, session_s])]
    members = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)]
    try:
        _change(members[0], 1)
        members.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        came_s = _change(members[1], 1)
        joined_s = came_s - _change(members[0], -1)
        members[1].kill()
        killed_s = time.monotonic()
        took_s = _change(members[0], 1) - killed_s
    finally:
        for member in members:
            member.kill()
            member.wait()
    rests = {"a member that does nothing joins": (joined_s, "-"), "kill -9 of one": (took_s, took_s - session_s)}
    return [
        {
            "what": what,
            "session s": session_s,
            "longest rest of those that move, s": rest_s,
            "of those that stay, s": "-",
            "beyond the session, s": beyond,
            "target": "-",
        }
        for what, (rest_s, beyond) in rests.items()
    ]


def _change(member: "subprocess.Popen[str]", sign: int) -> float:
    """When partitions came (1) or went (-1) next, by the clock that all processes share."""
    while member.stdout is not None and (line := member.stdout.readline()):
        at_s, change = json.loads(line)
        if change * sign > 0:
            return float(at_s)
    raise RuntimeError("a member has ended")


def _row(what: str, session_s: int, watch: _Watch, moving: set[int]) -> dict[str, object]:
    others = set(range(PARTITIONS)) - moving
    moved_s = max(watch.longest_s[partition] for partition in moving)
    return {
        "what": what,
        "session s": session_s,
        "longest rest of those that move, s": moved_s,
        "of those that stay, s": max(watch.longest_s[partition] for partition in others),
        "beyond the session, s": moved_s - session_s if what == "kill -9" else "-",
        "target": "session + 2 s" if what == "kill -9" else "-",
    }


def _partitions(worker: Worker) -> set[int]:
    names = {f'driftlock_worker_lag_rows{{partition="{partition}"}}': partition for partition in range(PARTITIONS)}
    return {names[name] for name in worker.metrics() if name in names}


async def _until(tasks: "list[asyncio.Task[None]]", reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(reached):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(LOOK_S)


async def _look(urls: Urls, watch: _Watch) -> None:
    connection = await asyncpg.connect(urls.owner)
    try:
        while True:
            watch.saw({row["partition"]: row["next_offset"] for row in await connection.fetch(OFFSETS)})
            await asyncio.sleep(LOOK_S)
    finally:
        with suppress(Exception):
            await connection.close()


async def _send(site: Site, topic: str) -> None:
    """The same few messages again and again: what is recognised moves the offset too."""
    producer = Producer({"bootstrap.servers": site.broker.address, "linger.ms": 0})
    by_partition: dict[int, KafkaMessage] = dict(messages(10 * PARTITIONS * 4, Lines(10)))
    try:
        while True:
            for partition, message in by_partition.items():
                producer.produce(topic, message.value, message.key, partition, headers=list(message.headers))
            producer.poll(0)
            await asyncio.sleep(SENDING_S)
    finally:
        producer.purge()  # the last ones are nobody's any more
        producer.flush(1)
