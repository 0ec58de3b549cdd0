"""Conservation: whatever is sent, and whatever happens meanwhile, every record ends in one way, and every book agrees."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from driftlock.accounts.keys import Scope
from driftlock.engine.event import Signal
from tests.conformance.contract import Conservation, Counted, Item, Kind, Outcome, Parcel, Shape, cases, deep, items
from tests.conformance.doors import GrpcDoor, RestDoor
from tests.conformance.site import Site

OTLP = (GrpcDoor.name, "http-protobuf", "http-json")
DOORS = (*OTLP, RestDoor.name)
BAD = Item("too deep", attributes={"a": deep(20)})
SEEDS = 2
STEPS = 25
BACK_S = 20.0
COMMIT_S = 1.0
TRIES = 5
module_loop = pytest.mark.asyncio(loop_scope="module")

REASONS = {
    "malformed-logs": "malformed",
    "malformed-metrics": "malformed",
    "malformed-traces": "malformed",
    "oversize": "too_large",
    "bomb": "bomb",
    "flood": "too_many_records",
}
DIFFERENT_REASONS = {
    (GrpcDoor.name, "oversize"): "transport",  # gRPC itself refuses them, and does not say why
    (GrpcDoor.name, "bomb"): "transport",
    (RestDoor.name, "bomb"): "unsupported_coding",
}


@module_loop
@pytest.mark.parametrize(("name", "case"), [(name, case) for name in DOORS for case in REASONS])
async def test_a_refusal_has_a_reason_worth_reading(site: Site, name: str, case: str) -> None:
    parcel = next(each.parcel for each in cases() if each.name == case)
    if name == RestDoor.name and parcel.signal is not Signal.LOGS:
        return
    key = await site.key(await site.tenant())
    assert await reasons_of(site, site.doors[name].send(replace(parcel, key=key))) == {
        (parcel.signal.value, DIFFERENT_REASONS.get((name, case), REASONS[case])): 1
    }


@module_loop
@pytest.mark.parametrize("name", DOORS)
async def test_who_may_not_send_is_counted_as_such(site: Site, name: str) -> None:
    door, good = site.doors[name], Parcel(Signal.LOGS, items(3))
    assert await reasons_of(site, door.send(replace(good, key="let me in"))) == {("logs", "unauthenticated"): 1}
    key = await site.key(await site.tenant(), Scope.READ)
    assert await reasons_of(site, door.send(replace(good, key=key))) == {("logs", "forbidden"): 1}


async def reasons_of(site: Site, sending: Awaitable[Outcome]) -> dict[tuple[str, str], float]:
    """What a request adds to the refusals."""
    before, counted = Counter(site.reasons("refused_requests")), site.counters()
    await sending
    await site.counted_since(counted, 1)
    return dict(Counter(site.reasons("refused_requests")) - before)


@module_loop
@pytest.mark.parametrize("name", DOORS)
async def test_records_that_are_all_rejected_are_in_the_ledger(site: Site, name: str) -> None:
    tenant = await site.tenant()
    await site.doors[name].send(Parcel(Signal.LOGS, (BAD, BAD), key=await site.key(tenant)))
    ledger = await site.ledger(tenant)
    assert (ledger.received, ledger.rejected) == ((0, 0) if name == RestDoor.name else (2, 2))


@module_loop
@pytest.mark.parametrize("name", DOORS)
async def test_a_request_that_was_decoded_is_refused_with_all_its_records(site: Site, name: str) -> None:
    """Also with those that would have been rejected: the sender was told that nothing was taken."""
    for _ in range(TRIES):  # it is refused unread where the database was away when keys or rules were looked up again
        tenant = await site.tenant()
        door, parcel = site.doors[name], Parcel(Signal.LOGS, items(3), key=await site.key(tenant))
        total = Conservation()
        total.count(await until_back(site, name, parcel), 3)
        bad = () if name == RestDoor.name else (BAD, BAD)
        parcel = replace(parcel, items=items(4) + bad)
        before = site.counters()
        site.wire.cut()
        try:
            outcome = await door.send(parcel)
        finally:
            site.wire.mend()
        assert outcome.kind is Kind.RETRYABLE
        total.count(outcome, len(parcel.items))
        refused = (await site.counted_since(before, 1)).refused
        ledger = await site.ledger(tenant)
        total.check(ledger)
        assert ledger.refused == refused
        if refused:
            break
    assert refused == len(parcel.items)


@module_loop
@pytest.mark.parametrize("name", OTLP)
async def test_an_answer_of_the_database_that_is_lost_keeps_the_law(site: Site, name: str) -> None:
    """The commit is there, nobody here knows it: refused, and the resend is a duplicate.

    REST asks the database for the stream first, so its requests would wait for that answer.
    """
    tenant = await site.tenant()
    parcel = Parcel(Signal.LOGS, items(3), key=await site.key(tenant))
    for attempt in range(TRIES):  # the statement may not be prepared yet on the connection that it gets
        await until_back(site, name, replace(parcel, items=items(1), service=f"warm {attempt}"))
        lost = replace(parcel, service=f"warm {attempt}")
        before = await site.ledger(tenant)
        site.wire.deaf = True
        sending = asyncio.create_task(site.doors[name].send(lost))
        committed = await journaled_within(site, tenant, before.journaled + 3)
        site.wire.cut()
        outcome = await sending
        site.wire.mend()
        assert outcome.kind is Kind.RETRYABLE
        await until_back(site, name, lost)
        after = await site.ledger(tenant)
        gained = (after.journaled - before.journaled, after.refused - before.refused, after.deduplicated - before.deduplicated)
        assert gained in ((3, 3, 3), (3, 3, 0))
        if committed:
            assert gained == (3, 3, 3)
            return
    raise AssertionError("no commit whose answer was lost")


async def journaled_within(site: Site, tenant: object, records: int) -> bool:
    """Whether so many records are in the journal of the tenant soon."""
    end_s = asyncio.get_running_loop().time() + COMMIT_S
    while asyncio.get_running_loop().time() < end_s:
        sql = "select sum(journaled)::bigint from driftlock.ledger where tenant_id = $1"
        if await site.owner.fetchval(sql, tenant) == records:
            return True
        await asyncio.sleep(0.02)
    return False


async def until_back(site: Site, name: str, parcel: Parcel) -> Outcome:
    """The first answer that is not `retryable`."""
    end_s = asyncio.get_running_loop().time() + BACK_S
    while (outcome := await site.doors[name].send(parcel)).kind is Kind.RETRYABLE:
        assert asyncio.get_running_loop().time() < end_s
        await asyncio.sleep(0.05)
    return outcome


@module_loop
async def test_an_idempotency_key_stands_for_one_request_however_many_come_at_once(site: Site) -> None:
    tenant = await site.tenant()
    headers = {"x-api-key": await site.key(tenant), "idempotency-key": "once"}
    bodies = [{"events": ["a", "b"]}, {"events": ["c"]}] * 4
    client, before = site.rest, site.counters()
    answers = await asyncio.gather(*(client.post("/v1/detect", json=body, headers=headers) for body in bodies))
    known = next(body for body, answer in zip(bodies, answers, strict=True) if answer.json().get("duplicate") is False)
    outcomes = Counter(
        (body == known, answer.status_code, answer.json().get("duplicate"))
        for body, answer in zip(bodies, answers, strict=True)
    )
    assert {key: count for key, count in outcomes.items() if key[0]} == {(True, 200, False): 1, (True, 200, True): 3}
    assert {key: count for key, count in outcomes.items() if not key[0]} == {(False, 422, None): 4}
    kept, other = len(known["events"]), 3 - len(known["events"])
    ledger = await site.ledger(tenant)
    assert (ledger.in_journal, ledger.deduplicated, ledger.refused) == (kept, 3 * kept, 4 * other)
    total = Conservation(journaled=kept, deduplicated=3 * kept, refused=4 * other, refusals=4)
    total.check(ledger)
    total.check_counted(await site.counted_since(before, 4), ledger)


class Mix:
    """Random requests of one tenant at one door, sent one after another or several at a time.

    `kept` are parcels that were not acknowledged, to be sent until they are; then each good record of `wanted` has to be in the
    journal once, whatever the senders believe of their first attempts.
    """

    def __init__(self, site: Site, name: str, tenant: object, key: str, rng: random.Random) -> None:
        self.site, self.name, self.tenant, self.key, self.rng = site, name, tenant, key, rng
        self.sent = self.answered = self.refused = self.rejected = self.acknowledged = self.refusals = self.wanted = 0
        self.unanswered = 0
        self.kept: list[Parcel] = []
        self.known: list[Parcel] = []
        self.number = 0

    async def step(self) -> None:
        """One thing that happens."""
        match self.rng.choice(
            ("good", "good", "good", "partial", "rejected", "resend", "broken", "stranger", "gone", "crowd", "cut")
        ):
            case "good":
                await self.send(self.fresh())
            case "partial":
                await self.send(self.fresh(bad=self.rng.randint(1, 3)))
            case "rejected":
                await self.send(self.fresh(good=0, bad=2))
            case "resend" if self.known:
                await self.send(self.rng.choice(self.known))
            case "broken":
                await self.send(replace(self.fresh(), shape=Shape.MALFORMED))
            case "stranger":
                await self.send(replace(self.fresh(), key="let me in"))
            case "gone":
                await self.give_up(self.fresh())
            case "crowd":
                parcels = [self.fresh() for _ in range(4)]
                await asyncio.gather(*(self.send(parcel) for parcel in [*parcels, parcels[0]]))
            case "cut":
                await self.cut()

    def fresh(self, good: int | None = None, bad: int = 0) -> Parcel:
        """A request that was never sent before."""
        self.number += 1
        count = self.rng.randint(1, 20) if good is None else good
        signal = self.rng.choice(sorted(self.site.doors[self.name].signals))
        made = tuple(replace(item, body=f"{self.number} {item.body}") for item in items(count))
        return Parcel(signal, made + (BAD,) * bad, key=self.key, service=f"service {self.number % 3}")

    async def send(self, parcel: Parcel) -> None:
        """Send and note what was answered."""
        self.note(parcel, await self.site.doors[self.name].send(parcel))

    def note(self, parcel: Parcel, outcome: Outcome) -> None:
        records = len(parcel.items)
        self.sent += records
        self.answered += records
        if outcome.kind in (Kind.ACCEPTED, Kind.PARTIAL):
            self.rejected += outcome.rejected
            self.acknowledged += records - outcome.rejected
            if parcel not in self.known:
                self.known.append(parcel)
                self.wanted += records - outcome.rejected
            return
        self.refused += records
        self.refusals += 1
        if outcome.kind is Kind.RETRYABLE:
            self.kept.append(parcel)

    async def give_up(self, parcel: Parcel) -> None:
        """Hang up before the answer, or just in time for it."""
        sending = asyncio.create_task(self.site.doors[self.name].send(parcel))
        await asyncio.wait([sending], timeout=self.rng.random() * 0.02)
        if sending.done():
            self.note(parcel, sending.result())
            return
        sending.cancel()
        await asyncio.wait([sending])
        self.sent += len(parcel.items)
        self.unanswered += len(parcel.items)
        self.kept.append(parcel)

    async def cut(self) -> None:
        """Take the database away in the middle of some requests."""
        sending = [asyncio.create_task(self.send(self.fresh())) for _ in range(5)]
        await asyncio.sleep(self.rng.random() * 0.02)
        self.site.wire.cut()
        try:
            await asyncio.gather(*sending)
            await self.send(self.fresh())
        finally:
            self.site.wire.mend()

    async def settle(self) -> None:
        """Send what was not acknowledged until it is."""
        kept, self.kept = self.kept, []
        end_s = asyncio.get_running_loop().time() + BACK_S
        for parcel in kept:
            while True:
                outcome = await self.site.doors[self.name].send(parcel)
                self.note(parcel, outcome)
                if outcome.kind is not Kind.RETRYABLE:
                    break
                assert asyncio.get_running_loop().time() < end_s
                await asyncio.sleep(0.05)
        self.kept.clear()

    def check(self, counted: Counted, ledger: object) -> None:
        """All books agree."""
        assert counted.whole, counted
        assert self.sent == self.acknowledged + self.rejected + self.refused + self.unanswered
        unheard = self.unanswered  # the process knows what became of them, or never saw them
        assert 0 <= counted.accepted + counted.duplicate + counted.rejected - self.acknowledged - self.rejected <= unheard
        assert 0 <= counted.received - counted.refused - self.acknowledged - self.rejected <= unheard
        assert counted.refused <= self.refused + unheard
        assert (ledger.rejected, ledger.refused) == (counted.rejected, counted.refused)  # type: ignore[attr-defined]
        assert ledger.in_journal == self.wanted, (ledger, self.wanted)  # type: ignore[attr-defined]


@module_loop
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", DOORS)
async def test_random_mixes_are_conserved(site: Site, name: str, seed: int) -> None:
    tenant = await site.tenant()
    mix = Mix(site, name, tenant, await site.key(tenant), random.Random(f"{name} {seed}"))
    await until_back(site, name, replace(mix.fresh(good=1), service="warm"))
    before, first = site.counters(), await site.ledger(tenant)
    mix.wanted = first.in_journal
    for _ in range(STEPS):
        await mix.step()
    await mix.settle()
    counted = await site.counted_since(before, mix.refusals)
    assert counted.refusals >= mix.refusals
    assert counted.refusals <= mix.refusals + mix.unanswered
    mix.check(counted, await site.ledger(tenant))
