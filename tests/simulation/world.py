"""One run of the simulation: processes, clients, a database, and what happens to them, all from one seed."""

import asyncio
import contextvars
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from driftlock.engine.ports import Receipt, Step, Submission
from driftlock.errors import DriftlockError, KeyReused, Unavailable
from tests.simulation.database import Fault, Server, Session
from tests.simulation.facts import Base, Facts, idle
from tests.simulation.loop import Hang, Process, SimLoop
from tests.simulation.node import Node, Parts
from tests.simulation.people import People
from tests.simulation.plan import Event, Plan
from tests.simulation.statements import OWNERS, Statement
from tests.simulation.tables import Tables, Tenant
from tests.simulation.traffic import Request, Traffic

TWIN = UUID(int=3)
BASE_NS = 1_700_000_000 * 1_000_000_000
CALM_S = 400.0
REQUEST_DEADLINE_S = 3.0
NODES_MAX = 100  # in trouble a start of a dozen statements seldom succeeds
LONG_WINDOW_MS = 900_000  # longer than any history, with its jumps of clocks


class World:
    """`run()` lets everything happen and returns when all is sent, scored and stopped; `facts` are there to be judged."""

    def __init__(
        self,
        plan: Plan,
        rng: random.Random,
        base: Base,
        *,
        parts: Parts | None = None,
        rewrite: Callable[[Tables, Statement, tuple[Any, ...]], tuple[Any, ...]] | None = None,
        tracing: bool = False,
    ) -> None:
        self.plan, self.rng, self.base = plan, rng, base
        self.parts = parts or Parts()
        self.tracing = tracing
        self.facts = Facts(history=list(base.history))
        self.loop = SimLoop(rng, shuffle=plan.shuffle)  # type: ignore[abstract]  # it has what is used
        self.offset_ns = base.elapsed_ns
        self.ids = 0
        self.tables = base.tables.fork(self._new_id, self.now_ns)
        self.tables.tenants[TWIN] = Tenant("twin", 5)
        self.server = Server(
            self.loop,
            rng,
            self.tables,
            choose=self._choose,
            watch=self._watch,
            killed=self._killed,
            stopped=self._told_to_stop,
            rewrite=rewrite,
        )
        self.traffic = Traffic(rng, base.numbers, BASE_NS, plan.odd_rate, plan.pace_ns)
        self.nodes: list[Node] = []
        self._epochs: dict[Process, int] = {}
        self.deadlines: dict[Any, asyncio.Task[None]] = {}
        self.troubled = True
        self.serving = True
        self.outside = contextvars.Context()
        self.sent: list[Request] = []
        self.reusing: set[str] = set()
        self.unfinished = 0
        self.stop_s = plan.stop_s

    def run(self) -> Facts:
        plan = self.plan
        self._spawn()
        for event in plan.events:
            self.loop.call_later(event.at_s, self._happen, event, context=self.outside)
        self.loop.call_later(plan.trouble_s, self._calm_down, context=self.outside)
        self.unfinished = plan.clients
        for client in range(plan.clients):
            self.loop.create_task(self._client(client), context=self.outside.copy())
        if plan.operator:
            self.unfinished += 1
            self.loop.create_task(People(self).configure(), context=self.outside.copy())
        if plan.people:
            self.unfinished += 1
            self.loop.create_task(People(self).teach(), context=self.outside.copy())
        self.loop.run_until(lambda: not self.unfinished and not self.troubled, CALM_S, "clients are answered")
        self._finish()
        while self._unsaved():  # the stop went wrong: a start and another stop have to make up for it
            self._spawn()
            self._finish()
        self.facts.wrong += self.loop.failures
        return self.facts

    def _finish(self) -> None:
        """Wait until everything is scored, and stop all processes, which saves what they have in memory."""
        self.serving = True
        self._respawn()
        self.loop.run_until(self._scored, CALM_S, "everything is scored")
        self.loop.run_until(self._idle, CALM_S, "nothing is on its way into a queue, and none counts as if it were")
        self.serving = False
        self.stop_s = 60.0
        for node in self.nodes:
            self._stop(node)
        self.loop.run_until(lambda: not any(node.running for node in self.nodes), CALM_S, "processes stop")

    def clear(self) -> None:
        """End what is left of a run that got nowhere."""
        for node in self.nodes:
            self.loop.kill(node.process)

    def _unsaved(self) -> bool:
        newest = {row.stream_id: row.seq for row in self.facts.history if row.stream_id is not None}
        saved = self.tables.stream_checkpoints
        return any(seq > max(saved.get(known, {0: b""})) for known, seq in newest.items())

    # What processes and the database see of the world.

    def now_ns(self) -> int:
        return BASE_NS + self.offset_ns + int(self.loop.now_s * 1e9)

    def note(self, what: str) -> None:
        if self.tracing:
            self.facts.trace.append(f"{self.loop.now_s:9.4f}  {what}")

    def wrong(self, what: str) -> None:
        self.note(f"WRONG: {what}")
        self.facts.wrong.append(what)

    def _new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=(self.base.numbers << 32) + self.ids)

    def _choose(self, number: int, session: Session, statement: Statement) -> Fault:
        fault = Fault.NONE
        if self.plan.fault_at is not None:
            fault = self.plan.fault_at[1] if self.plan.fault_at[0] == number else Fault.NONE
        elif self.troubled and self.plan.fault_rate and self.rng.random() < self.plan.fault_rate:
            fault = self.rng.choice(self.plan.faults)
        if self.tracing:
            self.note(f"{session.process.name} sends {number} {statement.name}{'' if fault is Fault.NONE else f' [{fault}]'}")
        return fault

    def _watch(self, session: Session, statement: Statement, result: Any) -> None:
        """After every statement: what must hold at all times, and what is kept for the end."""
        tables, history = self.tables, self.facts.history
        shard = tables.shard
        if self.tracing:
            self.note(f"  {session.process.name} has {statement.name}: last {shard.next_seq - 1}, applied {tables.applied_seq}")
        for seq in range(len(history) + 1, shard.next_seq):
            if seq not in tables.journal:
                self.wrong(f"row {seq} is missing")
                return
            history.append(tables.journal[seq])
        if len(tables.journal) != shard.next_seq - 1 - shard.truncated_seq:
            self.wrong("the journal has gaps")
        if tables.applied_seq > shard.next_seq - 1 or tables.applied_seq < self._applied:
            self.wrong(f"the position goes from {self._applied} to {tables.applied_seq} of {shard.next_seq - 1}")
        self._applied = tables.applied_seq
        if shard.truncated_seq > tables.applied_seq:
            self.wrong("rows are gone that are not applied")
        if statement.name in OWNERS and result is not None and self._epochs[session.process] != shard.epoch:
            self.wrong(f"{session.process.name} does {statement.name} although it was taken over")
        if statement.name == "acquire":
            self._epochs[session.process] = result
        if statement.name == "advance" and result and isinstance(session.step, Step):
            self.facts.steps.append(session.step)

    _applied = 0

    # Processes.

    def _spawn(self) -> None:
        if len(self.nodes) >= NODES_MAX:
            raise Hang("processes do not stay up")
        node = Node(self, Process(f"p{len(self.nodes) + 1}"), self.parts)
        self.nodes.append(node)
        self.note(f"{node.process.name} starts")
        node.start()
        assert node.main is not None
        node.main.add_done_callback(lambda _: self._ended(node), context=self.outside)

    def _replace(self) -> None:
        if self.troubled:
            self._spawn()

    def _ended(self, node: Node) -> None:
        self.note(f"{node.process.name} has ended")
        self.loop.kill(node.process)  # whatever it has left dies with it
        self._respawn()

    def _respawn(self) -> None:
        if self.serving and not any(node.running and not node.process.frozen for node in self.nodes):
            self.loop.call_later(0.05 + self.rng.random(), self._spawn_if_none, context=self.outside)

    def _spawn_if_none(self) -> None:
        if self.serving and not any(node.running for node in self.nodes):
            self._spawn()

    def _killed(self, process: Process) -> None:
        if not process.dead:
            self.note(f"{process.name} is killed")
            self.loop.kill(process)
            self._respawn()

    def _told_to_stop(self, process: Process) -> None:
        for node in self.nodes:
            if node.process is process:
                self._stop(node)

    def _stop(self, node: Node) -> None:
        if node.running and node.main is not None:
            self.note(f"{node.process.name} is told to stop")
            node.main.cancel()

    def _thaw(self, node: Node) -> None:
        if node.process.frozen and not node.process.dead:
            self.note(f"{node.process.name} goes on")
            self.loop.thaw(node.process)

    def _happen(self, event: Event) -> None:
        if not self.troubled:
            return
        self.note(f"* {event.what} for {event.for_s:.1f} s")
        alive = [node for node in self.nodes if node.running]
        node = alive[-1] if alive else None

        def later(work: Callable[..., None], *arguments: Any) -> None:
            self.loop.call_later(event.for_s, work, *arguments, context=self.outside)

        match event.what:
            case "restart database" | "outage":
                self.server.stop()
                later(self.server.start) if event.what == "outage" else self.server.start()
            case "clock":
                self.offset_ns += int((self.rng.random() - 0.3) * 120e9)
            case "slow":
                self.server.latency_s = 0.4
                later(self._fast)
            case "replace":
                self._spawn()
            case "kill" if node is not None:
                self._killed(node.process)
            case "stop" if node is not None:
                self._stop(node)
            case "freeze" | "freeze and replace" if node is not None:
                node.process.frozen = True
                later(self._thaw, node)
                if event.what == "freeze and replace":
                    self.loop.call_later(event.for_s * self.rng.random(), self._replace, context=self.outside)

    def _fast(self) -> None:
        self.server.latency_s = 0.002

    def _calm_down(self) -> None:
        self.note("* nothing goes wrong any more")
        self.troubled = False
        self.server.start()
        self._fast()
        for node in self.nodes:
            self._thaw(node)
        self._respawn()

    def _scored(self) -> bool:
        dispatcher = next((node.dispatcher for node in reversed(self.nodes) if node.running and node.journal is not None), None)
        last = self.tables.shard.next_seq - 1
        return dispatcher is not None and dispatcher.applied_seq == last == self.tables.applied_seq

    def _idle(self) -> bool:
        journals = [node.journal for node in self.nodes if node.running and node.journal is not None]
        return all(idle(journal) for journal in journals)

    # Clients.

    async def _client(self, client: int) -> None:
        rng, plan = self.rng, self.plan
        for number in range(plan.requests):
            await asyncio.sleep(rng.random() * 2)
            request = self._request(f"c{client}-{number}")
            self.sent.append(request)
            await self._deliver(request)
            if rng.random() < plan.twin_rate:
                twin = replace(request, name=f"{request.name}-twin", tenant_id=TWIN)
                self.sent.append(twin)
                await self._deliver(twin)
            if request.content_hash is not None and rng.random() < 0.5:
                await self._reuse(request)
        self.unfinished -= 1

    async def _deliver(self, request: Request) -> None:
        while not await self._attempt(request):  # noqa: ASYNC110  # a client that tries again
            await asyncio.sleep(0.05 + self.rng.random())

    async def _reuse(self, request: Request) -> None:
        """Send something else under the same key: it is refused as long as the key is remembered, and new after that."""
        other = replace(self._request(f"{request.name}-again"), request_hash=request.request_hash, content_hash=b"another")
        self.reusing.add(other.name)
        await self._deliver(other)
        if other.name in self.facts.acknowledged:
            self.sent.append(other)

    def _request(self, name: str) -> Request:
        rng, plan, made = self.rng, self.plan, self._records(name)
        made = replace(made, rejected=rng.randint(1, 3) if rng.random() < plan.rejected_rate else 0)
        return replace(made, content_hash=made.request_hash) if rng.random() < plan.key_rate else made

    def _records(self, name: str) -> Request:
        plan, tenant_id = self.plan, self.base.tenant_id
        if plan.numbers and self.rng.random() < 0.4:
            return self.traffic.numbers(name, tenant_id)
        if plan.spans and self.rng.random() < 0.4:
            return self.traffic.spans(name, tenant_id)
        return self.traffic.lines(name, tenant_id, plan.streams, plan.records)

    async def _attempt(self, request: Request) -> bool:
        """Send it once, over a net that may lose it, double it, or lose the answer."""
        rng, plan = self.rng, self.plan if self.troubled else None
        if plan is not None and rng.random() < plan.drop_rate:
            await asyncio.sleep(REQUEST_DEADLINE_S)
            return False
        if plan is not None and plan.delay_s:
            await asyncio.sleep(rng.random() * plan.delay_s)
        nodes = [node for node in self.nodes if node.running]
        if not nodes:
            return False
        if plan is not None and rng.random() < plan.double_rate:
            rng.choice(nodes).handle(lambda journal: journal.submit(self._submission(request)), None)
        answer: asyncio.Future[Receipt | DriftlockError] = self.loop.create_future()
        node = nodes[-1] if rng.random() < 0.8 else rng.choice(nodes)
        node.handle(lambda journal: journal.submit(self._submission(request)), answer)
        await asyncio.wait({answer}, timeout=REQUEST_DEADLINE_S)
        task = self.deadlines.pop(answer, None)
        if not answer.done():
            if task is not None and not node.process.dead and rng.random() < 0.5:
                task.cancel()
            return False
        if plan is not None and rng.random() < plan.mute_rate:
            return False
        return self._told(request, answer.result())

    def _submission(self, request: Request) -> Submission:
        return request.submission(self.now_ns(), deduplicates=self.parts.deduplicates)

    def _told(self, request: Request, result: Receipt | DriftlockError) -> bool:
        self.note(f"{request.name}: {result}")
        if isinstance(result, Unavailable):
            return False
        if request.name in self.reusing:
            return self._told_of_reuse(request, result)
        if not isinstance(result, Receipt):
            self.wrong(f"{request.name} is refused: {result!r}")
            return True
        self.facts.acknowledged[request.name] = result
        journaled = {row.body for row in self.facts.history if row.tenant_id == request.tenant_id}
        if not journaled.issuperset(request.bodies):
            self.wrong(f"{request.name} is acknowledged and not journaled")
        return True

    def _told_of_reuse(self, request: Request, result: Receipt | DriftlockError) -> bool:
        if isinstance(result, KeyReused):
            self.facts.reused += 1
        elif isinstance(result, Receipt) and self.plan.journal.dedup_window_ms < LONG_WINDOW_MS:
            self.facts.acknowledged[request.name] = result
        else:
            self.wrong(f"{request.name} is under a key that was used, and is answered {result!r}")
        return True
