"""People in the simulation: they change profiles and budgets, say what they think of findings, freeze anchors, set rules.

Whatever they order they order again until they are told that it is done, as people do.
"""

import asyncio
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from driftlock.accounts.actor import SYSTEM
from driftlock.engine.anchor import AnchorChange, AnchorSettings, Freeze
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.lessons import Verdict
from driftlock.engine.profile import PROFILES
from driftlock.engine.redaction import Rule
from driftlock.errors import DriftlockError, PreconditionFailed
from driftlock.storage.anchors import Anchors
from driftlock.storage.feedback import Feedbacks, Opinion
from driftlock.storage.journal import Journal
from driftlock.storage.redaction import RedactionRules, RedactionTable
from tests.simulation.database import SimDatabase
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.world import World

ORDER_DEADLINE_S = 3.0
KEY = bytes(range(32))
RULES = (Rule("host", mask="host{digits}"), Rule("mail", kind="email"))
MASKS = ("request {digits}",)
SETTLED_NS = 30 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are taken: the product's own parts, over the journal of one process."""

    journal: Journal
    feedbacks: Feedbacks
    anchors: Anchors
    rules: RedactionRules


Order = Callable[[Desk], Awaitable[object]]


class People:
    """`configure` and `teach` end when all they had to order is done, or refused for a reason that people understand."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.rng
        self._tenant_id = world.base.tenant_id

    async def configure(self) -> None:
        """Change a profile and a budget now and then, and make a stream."""
        rng, plan = self._rng, self._world.plan
        known = next(iter(self._world.tables.streams))
        for _ in range(2):
            await asyncio.sleep(rng.random() * 5)
            what, profile, alerts = rng.randrange(3), rng.choice((plan.profile, PROFILES["sensitive"])), rng.randrange(5)

            async def order(desk: Desk) -> None:
                if what == 0:  # noqa: B023  # it is done before the next one begins
                    await desk.journal.configure(self._tenant_id, known, profile)  # noqa: B023
                elif what == 1:  # noqa: B023
                    await desk.journal.set_budget(self._tenant_id, alerts)  # noqa: B023
                else:
                    await desk.journal.create_stream(self._tenant_id, StreamKey(Signal.LOGS, "service-2"), plan.profile)

            await self._until_done(order)
        self._world.unfinished -= 1

    async def teach(self) -> None:
        """Say what is to be journaled as a lesson, about an anchor, or as redaction rules; and change masks in between."""
        for number in range(self._world.plan.people):
            await asyncio.sleep(self._rng.random() * (2 if number else 1))
            await self._until_done(self._choose() if number else self._anchor())
        self._world.unfinished -= 1

    def _choose(self) -> Order:
        chance = self._rng.random()
        if chance < 0.55:
            return self._opinion() or self._anchor()
        if chance < 0.8:
            return self._anchor()
        return self._rules() if chance < 0.9 else self._masks()

    def _opinion(self) -> Order | None:
        rng, tables, mine = self._rng, self._world.tables, self._tenant_id
        findings = [known for known, row in tables.anomalies.items() if row["tenant_id"] == mine]
        given = [known for known, row in tables.feedback.items() if row[1] == mine]
        if given and rng.random() < 0.15:
            withdrawn = rng.choice(given)
            return lambda desk: desk.feedbacks.withdraw(mine, withdrawn, SYSTEM)
        if not findings:
            return None
        chosen = rng.choice(findings[-3:])
        until_ns = rng.choice((0, 0, tables.anomalies[chosen]["end_ns"] + SETTLED_NS))
        opinion = Opinion(rng.choice((*Verdict, *[Verdict.FALSE_POSITIVE] * 4)), until_ns)
        return lambda desk: desk.feedbacks.give(mine, chosen, opinion, SYSTEM)

    def _anchor(self) -> Order:
        rng, mine, stream_id = self._rng, self._tenant_id, self._stream()
        change = self._change(stream_id)
        expected = None
        if rng.random() < 0.2:
            expected = self._world.tables.anchor_settings.get(stream_id, (0,))[0]
        said: dict[str, Any] = {"actor": SYSTEM, "action": "anchor.changed", "detail": {}, "expected_seq": expected}
        return lambda desk: desk.anchors.change(mine, stream_id, change, **said)

    def _change(self, stream_id: UUID) -> AnchorChange:
        rng = self._rng
        settings = AnchorSettings(rng.choice((0.01, 0.05, 0.35)), rng.random() < 0.5) if rng.random() < 0.4 else None
        chance = rng.random()
        if chance < 0.1:
            return AnchorChange(settings, drop=True)
        if chance < 0.2:
            return AnchorChange(settings or AnchorSettings())
        freeze = Freeze()
        if chance < 0.35:
            lines = [b"user %d logged in from host%d" % (number % 3, number) for number in range(rng.randint(3, 12))]
            freeze = Freeze(b"".join(lines), array("I", map(len, lines)))
        elif chance < 0.5:  # as a long drift does by itself
            anchors = self._world.tables.anchors
            in_force = (known for known, row in anchors.items() if row[2] == stream_id and row[4] == "in_force")
            freeze = Freeze(instead_of=next(in_force, UUID(int=0)))
        return AnchorChange(settings, freeze=freeze)

    def _rules(self) -> Order:
        rng, mine = self._rng, self._tenant_id
        stream_id = self._stream() if rng.random() < 0.5 else None
        rules = rng.choice((RULES, RULES[:1], ()))
        return lambda desk: desk.rules.put(mine, stream_id, rules, SYSTEM)

    def _masks(self) -> Order:
        plan, stream_id = self._world.plan, self._stream()
        profile = replace(plan.profile, masks=self._rng.choice(((), MASKS)))
        return lambda desk: desk.journal.configure(self._tenant_id, stream_id, profile)

    def _stream(self) -> UUID:
        """A stream of lines; most often the one with a past."""
        found = self._world.tables.streams.items()
        known = [it for it, stream in found if stream.tenant_id == self._tenant_id and stream.key.signal is Signal.LOGS]
        return known[0] if self._rng.random() < 0.7 else self._rng.choice(known)

    async def _until_done(self, order: Order) -> None:
        while not await self._attempt(order):  # noqa: ASYNC110  # people ask again
            await asyncio.sleep(0.3)

    async def _attempt(self, order: Order) -> bool:
        world = self._world
        nodes = [node for node in world.nodes if node.running]
        if not nodes:
            return False

        async def work(journal: Journal) -> None:
            await order(_desk(world, nodes[-1], journal))

        answer: asyncio.Future[DriftlockError | None] = world.loop.create_future()
        nodes[-1].handle(work, answer)
        await asyncio.wait({answer}, timeout=ORDER_DEADLINE_S)
        world.deadlines.pop(answer, None)
        return answer.done() and (answer.result() is None or isinstance(answer.result(), PreconditionFailed))


def _desk(world: "World", node: Node, journal: Journal) -> Desk:
    database: Any = SimDatabase(world.server, node.process)
    controls = node.parts.controls(journal)
    return Desk(
        journal,
        Feedbacks(database, controls),
        Anchors(database, controls),
        RedactionRules(database, controls, RedactionTable(database, world.loop.time), lambda size: KEY[:size]),
    )
