"""Faults put into the traffic of the made-up shop: share found within 200 affected traces, after how many, with which culprit.

Each case continues from the same learned state, so that no fault has seen another one. Judged are the traces themselves, not
what the texts of spans say, which is a stream a service like its logs, with false incidents of its own. Found: an incident
alarms before more than `AFFECTED_MAX` traces have been touched, and names a service that the fault is in. What is told when
nothing happens is counted on traffic without a fault.

References take their thresholds from clean traffic of another seed, on which they must not alarm once: no label is looked at,
but they know the traffic's own noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.quality.figures import Figure
from bench.quality.measures import wilson
from bench.traces.records import Incidents, Opened
from bench.traces.references import Alarms, highest, references
from bench.traces.synthetic import FIRST_NS, Fault, Shop
from bench.traces.traffic import BLOCK_S, Sending, calls_of, text_batches
from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.state import restore_traces, trace_state
from server.offline.span_batches import TRACES
from server.offline.tenant import OfflineTenant

Floats = NDArray[np.float64]
PROTOCOL = "synthetic"
RATE = 100.0
AFFECTED_MAX = 200
SETTLE_BLOCKS = 2
"""Blocks after the last affected trace that counts, for it to be closed and told."""
CASE_BLOCKS_MAX = 60
LEARN_BLOCKS, QUICK_LEARN_BLOCKS = 60, 15
CLEAN_BLOCKS, QUICK_CLEAN_BLOCKS = 1440, 20
TEXT_BLOCKS, QUICK_TEXT_BLOCKS = 60, 5
THRESHOLD_BLOCKS, QUICK_THRESHOLD_BLOCKS = 360, 20
SEEDS, QUICK_SEEDS = (1, 2, 3), (1,)
CLEAN_SEED, THRESHOLD_SEED = 11, 12
SHARES = (0.01, 0.05)
DAY_BLOCKS = 86_400 // BLOCK_S
OURS = "driftlock"


@dataclass(frozen=True, slots=True)
class Case:
    """A fault under the name of its kind; `right` are the services that may be named as its cause.

    Both ends may be where a call between them is the fault: it is delayed, left out, made for the first time, or fails for the
    caller although the callee does its work, as it does for those who retry here.
    """

    name: str
    fault: Fault
    right: frozenset[str]


def _case(name: str, kind: str, place: str, *right: str, size: float = 0.0, extra: str = "") -> Case:
    return Case(name, Fault(kind, place, 0.0, 1e9, size=size, extra=extra), frozenset(right))


CASES = (
    _case("delay, +200 ms", "delay", "catalog/get", "catalog", size=200),
    _case("delay, +200 ms", "delay", "stock/level", "stock", size=200),
    _case("delay on the way, +200 ms", "edge", "gateway/GET product>stock/level", "stock", "gateway", size=200),
    _case("delay on the way, +200 ms", "edge", "recommend/for user>catalog/get", "catalog", "recommend", size=200),
    _case("errors", "error", "accounts/session", "accounts"),
    _case("errors", "error", "recommend/similar", "recommend"),
    _case("retry storm, 3 more", "retry", "accounts/session", "accounts", "gateway", size=3),
    _case("retry storm, 3 more", "retry", "stock/level", "stock", "gateway", size=3),
    _case("missing call", "missing", "gateway/GET product>stock/level", "gateway", "stock"),
    _case("missing call", "missing", "gateway/GET home>catalog/list", "gateway", "catalog"),
    _case("new dependency", "dependency", "catalog/list", "catalog", "shipping", extra="shipping/quote"),
    _case("new dependency", "dependency", "stock/level", "stock", "accounts", extra="accounts/profile"),
    _case("bad version on 1 of 20", "version", "catalog", "catalog", size=300),
)
"""Places that many traces come by, and such as fewer do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case: the affected traces until the alarm (None = not found), whether the culprit was first."""

    affected: int | None
    right_first: bool = False


def figures(*, quick: bool) -> Iterator[Figure]:
    """The clean run, then every case, for ours and the references."""
    clean_blocks = QUICK_CLEAN_BLOCKS if quick else CLEAN_BLOCKS
    learn_blocks = QUICK_LEARN_BLOCKS if quick else LEARN_BLOCKS
    yield from _clean(learn_blocks, clean_blocks, texts=False)
    yield from _clean(learn_blocks, QUICK_TEXT_BLOCKS if quick else TEXT_BLOCKS, texts=True)
    thresholds = _thresholds(learn_blocks, QUICK_THRESHOLD_BLOCKS if quick else THRESHOLD_BLOCKS)
    outcomes: dict[tuple[str, float, str], list[Outcome]] = {}
    cases = CASES[::2] if quick else CASES
    for seed in QUICK_SEEDS if quick else SEEDS:
        state = _learned(seed, learn_blocks)
        for case in cases:
            visited = _visited(seed, case)
            for share in SHARES:
                fault = replace(case.fault, start_s=learn_blocks * BLOCK_S, share=min(1.0, share / visited))
                told = _run(seed, learn_blocks, replace(case, fault=fault), state, thresholds)
                for name, outcome in told.items():
                    outcomes.setdefault((case.name, share, name), []).append(outcome)
    for (case_name, share, name), some in outcomes.items():
        yield from _told(case_name, share, name, some)
    for name in dict.fromkeys(name for _, _, name in outcomes):
        for share in SHARES:
            some = [it for (_, of_share, of), each in outcomes.items() if (of, of_share) == (name, share) for it in each]
            yield from _told("all", share, name, some)


def _told(case: str, share: float, name: str, some: Sequence[Outcome]) -> Iterator[Figure]:
    found = [it for it in some if it.affected is not None]
    about = (
        PROTOCOL,
        f"found within {AFFECTED_MAX} affected traces, {RATE:g} traces/s",
        f"{case}, {share:.0%} of traces",
        name,
    )
    share_found = len(found) / len(some)
    yield Figure(*about, "found", share_found, *wilson(share_found, len(some)), count=len(some))
    after = median(it.affected or 0 for it in found) if found else np.nan
    yield Figure(*about, "affected until alarm, median", float(after), count=len(found))
    first = sum(it.right_first for it in found) / len(found) if found else np.nan
    yield Figure(*about, "culprit first", first, count=len(found))


def _visited(seed: int, case: Case) -> float:
    """The share of traces that come by the fault's place."""
    fault = replace(case.fault, start_s=0.0, share=1.0)
    return float(np.mean(Shop(seed, traces_per_second=RATE, faults=(fault,)).block(0).faults >= 0))


def _tenant() -> OfflineTenant:
    return OfflineTenant(PROFILES[DEFAULT_PROFILE], seed=0, limits=Limits())


def _learned(seed: int, blocks: int) -> bytes:
    """The state of the stream of traces after so many blocks without a fault."""
    shop, tenant = Shop(seed, traces_per_second=RATE), _tenant()
    sending = Sending(shop)
    for number in range(blocks):
        for sent in sending.sent(sending.ended(shop.block(number).spans, number)):
            tenant.take(TRACES, sent.batch, sent.now_ns)
    fold = tenant.resident(TRACES).fold
    if not isinstance(fold, TraceDetector):
        raise TypeError(f"{TRACES.text} is judged by {type(fold).__name__}")
    return trace_state(fold)


def _continued(state: bytes) -> OfflineTenant:
    tenant = _tenant()
    tenant.resident(TRACES).fold = restore_traces(state, TRACES, 0, Limits())
    return tenant


def _run(seed: int, learn_blocks: int, case: Case, state: bytes, thresholds: Mapping[str, float]) -> dict[str, Outcome]:
    """A case until all have found it, or enough traces were affected."""
    shop, tenant = Shop(seed, traces_per_second=RATE, faults=(case.fault,)), _continued(state)
    incidents, sending = Incidents(tenant), Sending(shop)
    rules = references()
    alarms = {rule.name: Alarms(shop.services) for rule in rules}
    starts: list[NDArray[np.int64]] = []
    for number in range(learn_blocks // 2, learn_blocks):  # references learn what they need in less
        calls = calls_of(shop, shop.block(number).spans)
        for rule in rules:
            rule.values(calls)
    left = SETTLE_BLOCKS
    for number in range(learn_blocks, learn_blocks + CASE_BLOCKS_MAX):
        block = shop.block(number)
        affected = np.isin(block.spans.trace, block.traces[block.faults >= 0]) & (block.spans.parent == 0)
        starts.append(block.spans.start_ns[affected])
        for sent in sending.sent(sending.ended(block.spans, number)):
            incidents.take(tenant.take(TRACES, sent.batch, sent.now_ns))
        calls = calls_of(shop, block.spans)
        for rule in rules:
            alarms[rule.name].take(calls, rule.values(calls), thresholds[rule.name])
        left -= sum(map(len, starts)) > AFFECTED_MAX
        if not left:
            break
    incidents.take(tenant.finish())
    at = np.sort(np.concatenate(starts))
    opened = {OURS: incidents.opened} | {name: it.opened for name, it in alarms.items()}
    return {name: outcome(some, at, case.right) for name, some in opened.items()}


def outcome(opened: Sequence[Opened], affected_ns: NDArray[np.int64], right: frozenset[str]) -> Outcome:
    """What incidents say of a fault: `affected_ns` are the starts of the traces that it touched, in their order."""
    for it in sorted(opened, key=lambda it: it.alarmed_ns):
        count = int(np.searchsorted(affected_ns, it.alarmed_ns))
        until_ns = it.told_ns
        if 0 < count <= AFFECTED_MAX and right & it.named_by(until_ns):
            return Outcome(count, it.culprit_by(until_ns) in right)
    return Outcome(None)


def _clean(learn_blocks: int, blocks: int, *, texts: bool) -> Iterator[Figure]:
    """Incidents when nothing happens, after the time in which everything is new, and during it; also with what spans say."""
    hours = 1.0 + (learn_blocks + blocks) * BLOCK_S / 3600
    shop, tenant = Shop(CLEAN_SEED, traces_per_second=RATE, hours=hours), _tenant()
    incidents, sending = Incidents(tenant), Sending(shop)
    traces = 0
    for number in range(learn_blocks + blocks):
        block = shop.block(number)
        traces += len(block.traces)
        for sent in sending.sent(sending.ended(block.spans, number)):
            if texts:
                for key, batch in text_batches(shop, sent.spans).items():
                    incidents.take(tenant.take(key, batch, sent.now_ns))
            incidents.take(tenant.take(TRACES, sent.batch, sent.now_ns))
    incidents.take(tenant.finish())
    since_ns = FIRST_NS + learn_blocks * BLOCK_S * SECOND_NS
    late = sum(it.alarmed_ns >= since_ns for it in incidents.opened)
    name = f"{OURS}, with texts of spans" if texts else OURS
    about = (PROTOCOL, "nothing happens", f"{blocks * BLOCK_S / 3600:.2g} hours simulated, {RATE:g} traces/s", name)
    days = blocks / DAY_BLOCKS
    low, high = poisson_interval(late)
    yield Figure(*about, "false incidents a day", late / days, low / days, high / days, count=late)
    yield Figure(*about, f"while it learns, first {learn_blocks} minutes", float(len(incidents.opened) - late), count=traces)


def _thresholds(learn_blocks: int, blocks: int) -> dict[str, float]:
    """What keeps each reference silent on so many clean blocks after the time in which it learns."""
    shop = Shop(THRESHOLD_SEED, traces_per_second=RATE)
    rules = references()
    values: dict[str, list[Floats]] = {rule.name: [] for rule in rules}
    for number in range(learn_blocks + blocks):
        calls = calls_of(shop, shop.block(number).spans)
        for rule in rules:
            values[rule.name].append(rule.values(calls).max(initial=0.0, keepdims=True))
    return {name: highest(some[learn_blocks:]) for name, some in values.items()}


def poisson_interval(count: int) -> tuple[float, float]:
    """The exact 95 % interval of the mean of which `count` events came (Garwood, "Fiducial limits for the Poisson", 1936).

    >>> [round(it, 2) for it in poisson_interval(0)], [round(it, 2) for it in poisson_interval(3)]
    ([0.0, 3.69], [0.62, 8.77])
    """
    return _mean_with(count - 1, 0.975) if count else 0.0, _mean_with(count, 0.025)


def _mean_with(count: int, share: float) -> float:
    """The mean at which `share` of all draws are at most `count`."""
    low, high = 0.0, 20.0 + 4.0 * count
    for _ in range(60):
        mean = (low + high) / 2
        term = total = exp(-mean)
        for number in range(1, count + 1):
            term *= mean / number
            total += term
        low, high = (mean, high) if total > share else (low, mean)
    return low
