"""A whole site under test: made, warmed up, and judged at the end."""

import random
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, Scope, mint
from driftlock.storage.keys import Keys
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from tests.chaos.clients import DEADLINE_S, Clients
from tests.chaos.cluster import Cluster, blocking
from tests.chaos.link import Link
from tests.chaos.node import Node
from tests.chaos.refold import ledger_differences, refold, stored
from tests.chaos.rotel import Rotel
from tests.chaos.tail import Tail, Verdict
from tests.chaos.workload import PROFILE

TENANT = "chaos"
SETTLE_S, POLL_S = 120.0, 0.05


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a run has shown at its end; see `Verdict` for the first part."""

    verdict: Verdict
    acknowledged: int
    findings: int
    incidents: int
    different: tuple[str, ...]
    ledger: tuple[str, ...]
    not_retryable: Mapping[str, int]
    strays: int = 0

    @property
    def clean(self) -> bool:
        """Is all well?"""
        return self.verdict.clean and not (self.different or self.ledger or self.not_retryable or self.strays)

    @property
    def line(self) -> str:
        """As it is printed."""
        same = "equal" if not self.different else f"DIFFERENT ({len(self.different)})"
        laws = "holds" if not self.ledger else f"BROKEN ({'; '.join(self.ledger)})"
        return (
            f"{self.verdict.line}  records acknowledged {self.acknowledged}, journaled {self.verdict.records}  "
            f"findings {same} ({self.findings}, incidents {self.incidents})  ledger {laws}"
            + (f"  answers that let clients drop data: {dict(self.not_retryable)}" if self.not_retryable else "")
            + (f"  ids nobody sent: {self.strays}" if self.strays else "")
        )


@dataclass
class Site:
    """What a fault can be done to. `spare` makes a further node on the same database, not started.

    `node` is the one that serves, `over` are nodes that have ended and may be started again.
    """

    folder: Path
    cluster: Cluster
    link: Link
    node: Node
    key: str
    clients: Clients
    tail: Tail
    rng: random.Random
    rotel: Rotel | None = None
    program: list[str] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    spares: int = 0
    over: list[Node] = field(default_factory=list)

    def spare(self) -> Node:
        """A further node, with ports of its own; it ends with the site."""
        self.spares += 1
        folder = self.folder / f"node-{self.spares}"
        node = Node(folder, self.link.dsn(), program=self.program, **self.variables)
        return self.stack.enter_context(node)

    def other(self) -> Node:
        """A node that does not run: one whose time is over, or else a further one."""
        return self.over.pop() if self.over else self.spare()

    def settle(self, timeout_s: float = SETTLE_S) -> int:
        """Stop the clients when all is acknowledged and the node when all is scored; the last position of the journal."""
        if self.rotel is not None:
            self.rotel.clients.stop()
            self.rotel.deliver(self.tail)
        self.clients.stop()
        end = time.monotonic() + timeout_s
        while self.lag():
            assert self.node.alive, f"the server has ended:\n{self.node.tail()}"
            assert time.monotonic() < end, f"the journal is not scored after {timeout_s} s:\n{self.node.tail()}"
            time.sleep(POLL_S)
        code = self.node.stop()
        assert code == 0, f"the server stopped with {code}:\n{self.node.tail()}"
        assert self.lag() == 0, "the server has stopped and left journaled rows unscored"
        last: int = self.cluster.query("select next_seq - 1 as last from driftlock.journal_shard")[0]["last"]
        return last

    def lag(self) -> int:
        """Rows that are not scored."""
        sql = """
        select s.next_seq - 1 - p.applied_seq as lag
          from driftlock.journal_shard s join driftlock.journal_position p on p.shard = s.shard"""
        lag: int = self.cluster.query(sql)[0]["lag"]
        return lag

    def judge(self) -> Judgement:
        """Settle, and compare everything with everything."""
        last = self.settle()
        self.tail.finish(last)
        return judge(
            self.tail,
            self.clients,
            self.cluster.owner_dsn,
            self.cluster.app_dsn,
            forwarded={} if self.rotel is None else self.rotel.clients.acked,
        )


def judge(
    tail: Tail, clients: Clients, owner_dsn: str, app_dsn: str, *, forwarded: Mapping[str, int] | None = None
) -> Judgement:
    """Compare what was acknowledged with what the journal had, and what the database says with an undisturbed run.

    Of what an agent has `forwarded` (the highest number of each of its senders) nothing may be there twice; what the agent has
    dropped we never acknowledged.
    """
    verdict = tail.check(clients.acked)
    said = stored(owner_dsn, app_dsn)
    # Rows that are missing can not be folded, and that they are is said already.
    different = [] if verdict.gaps else said.differences(refold(tail.rows))
    return Judgement(
        verdict,
        sum(clients.acked.values()),
        len(said.findings),
        len(said.incidents),
        tuple(different),
        tuple(ledger_differences(owner_dsn)),
        clients.not_retryable,
        _strays(tail, clients.acked | dict(forwarded or {})),
    )


def _strays(tail: Tail, acked: Mapping[str, int]) -> int:
    """Ids in the journal that nobody has sent, or that stand for nobody who sends."""
    split = (name.rpartition("-") for name in tail.seen)
    return sum(int(number) > acked.get(client, 0) for client, _, number in split)


@contextmanager
def open_site(
    folder: Path,
    *,
    seed: int = 0,
    program: list[str] | None = None,
    clients: int = 16,
    services: int = 4,
    records: int = 10,
    rest_s: float = 0.02,
    deadline_s: float = DEADLINE_S,
    settings: Mapping[str, str] | None = None,
    warm: bool = True,
    rotel: bool = False,
    **variables: str,
) -> Iterator[Site]:
    """A site in `folder`, serving, its streams made with a small profile and its clients sending, unless not `warm`.

    `rotel`: an agent sends beside them. `settings` are the cluster's, `variables` the servers'. However it ends, all
    of it ends.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder / "cluster", settings=settings))
        link = stack.enter_context(Link(cluster, seed=seed))
        key = blocking(lambda: _tenant(cluster.app_dsn))
        node = stack.enter_context(Node(folder / "node-0", link.dsn(), program=program, **variables))
        sending = Clients(
            (node.grpc_port,),
            key,
            count=clients,
            services=services,
            records=records,
            rest_s=rest_s,
            seed=seed,
            deadline_s=deadline_s,
        )
        tail = stack.enter_context(Tail(cluster.app_dsn))
        nodes = stack.enter_context(ExitStack())
        rng = random.Random(seed)
        site = Site(folder, cluster, link, node, key, sending, tail, rng, None, program, variables, nodes)
        node.start()
        if warm:
            configure(node, sending, key)
            stack.enter_context(sending)
            sending.wait_for_acks(clients)
            if rotel:
                site.rotel = stack.enter_context(Rotel(folder / "rotel", node.grpc_port, key))
        yield site


def configure(node: Node, clients: Clients, key: str) -> None:
    """Give each service of the clients its profile, as it is created."""
    start = {"time": clients.began_ns // 1_000_000_000, "text": "the service starts"}
    for service in sorted(set(clients.service.values())):
        body = {"stream_id": service, "events": [start], "config_override": PROFILE}
        status, answer = node.request("POST", "/v1/detect", body, key=key)
        assert status == 200, (answer, node.tail())


async def _tenant(app_dsn: str) -> str:
    """A tenant and its key."""
    minted = mint(KeyKind.LIVE, secrets.token_bytes(RANDOMNESS_BYTES))
    async with Database(app_dsn) as database:
        tenant = await Tenants(database).create(TENANT, plan="enterprise")
        await Keys(database).insert(tenant.tenant_id, minted, kind=KeyKind.LIVE, name=TENANT, scopes=[Scope.INGEST, Scope.READ])
    return minted.text
