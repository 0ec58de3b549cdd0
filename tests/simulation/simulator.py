"""Runs by seed, from one warm beginning."""

import random
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from driftlock.engine.event import Signal, StreamKey
from tests.simulation import journal_model
from tests.simulation.facts import Base
from tests.simulation.judge import judge
from tests.simulation.loop import Hang
from tests.simulation.node import Parts
from tests.simulation.plan import Plan, plan_of, with_people
from tests.simulation.statements import Statement
from tests.simulation.tables import Stream, Tables, Tenant
from tests.simulation.world import BASE_NS, World

FAR_NS = 2**62
TENANT = UUID(int=1)
STREAM = UUID(int=2)
WARM_REQUESTS = 50


class Simulator:
    """Makes the beginning of all runs once: a tenant with a stream that has a past long enough to be judged by."""

    def __init__(self) -> None:
        self.base = _warm()

    def world(
        self,
        seed: int,
        *,
        plan: Plan | None = None,
        parts: Parts | None = None,
        rewrite: Callable[[Tables, Statement, tuple[Any, ...]], tuple[Any, ...]] | None = None,
        tracing: bool = False,
        people: bool = False,
    ) -> World:
        """The run of a seed; `people`: there are some who teach, whatever the seed says."""
        rng = random.Random(seed)
        drawn = plan_of(rng)
        drawn = with_people(drawn, rng) if people and not drawn.people else drawn
        return World(plan or drawn, rng, self.base, parts=parts, rewrite=rewrite, tracing=tracing)

    def failures(self, world: World) -> list[str]:
        """Run it, and say what is wrong."""
        try:
            world.run()
        except Hang as error:
            world.clear()
            return [*world.facts.wrong, f"it hangs: {error}"]
        return judge(world)

    def play(self, seeds: Iterable[int], *, people: bool = False) -> list[str]:
        """A line for each of the seeds that fails, with the command that plays it alone."""
        failed = []
        for seed in seeds:
            wrong = self.failures(self.world(seed, people=people))
            if wrong:
                how = f"--seed {seed}{' --people' if people else ''}"
                failed.append(f"seed {seed}: {wrong[0]}; replay: .venv/bin/python -m tests.simulation {how}")
        return failed


def _warm() -> Base:
    empty = Tables(lambda: UUID(int=0), lambda: BASE_NS)
    empty.tenants[TENANT] = Tenant("t", 5, 1)
    key = StreamKey(Signal.LOGS, "service-0")
    empty.streams[STREAM] = Stream(TENANT, key, "service-0", overflow=False)
    empty.by_key[TENANT, key] = STREAM
    plan = Plan(clients=1, requests=WARM_REQUESTS, records=8, streams=1, odd_rate=0.0, trouble_s=0.0)
    world = World(plan, random.Random(0), Base(empty, [], TENANT, 0, 0))
    world.loop.call_later(0.4, lambda: world.loop.create_task(_configure(world)), context=world.outside)
    world.run()
    wrong = judge(world)
    if wrong:
        raise AssertionError(f"the warm beginning is wrong: {wrong}")
    _let_go(world.tables)
    elapsed_ns = world.now_ns() - BASE_NS
    return Base(world.tables, world.facts.history, TENANT, world.traffic.last, elapsed_ns)


def _let_go(tables: Tables) -> None:
    """Empty the journal as far as it goes."""
    epoch = tables.shard.epoch
    journal_model.close(tables, 0, epoch, FAR_NS, 0)
    while (due := journal_model.due(tables, 0, FAR_NS, 0)) is not None:
        held = (due["tenant_ids"] or [], due["signals"] or [], due["records"] or [])
        journal_model.empty(tables, 0, epoch, due["slot"], due["first_seq"], *held)


async def _configure(world: World) -> None:
    journal = world.nodes[0].journal
    assert journal is not None
    await journal.configure(TENANT, STREAM, world.plan.profile)
