"""What a seed means: how much is sent, what goes wrong and when. Each seed switches on some faults and leaves others out."""

import random
from dataclasses import dataclass, replace

from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.profile import PROFILES, Profile, custom
from driftlock.storage.journal import JournalLimits
from tests.simulation.database import Fault
from tests.simulation.traffic import PACE_NS

SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 24 * 3600 * SECOND_NS
SLOW_NS = 900 * SECOND_NS
# As small as profiles may be, so that few records make windows, and findings.
PROFILE = custom(
    PROFILES["balanced"],
    {
        "ncd_threshold": 0.01,
        "p_value_threshold": 0.5,
        "baseline_size": 20,
        "window_size": 5,
        "hop_size": 5,
        "permutations_max": 19,
    },
)
LIMITS = Limits(
    event_bytes_max=256,
    window_bytes_max=2048,
    past_bytes_max=4096,
    coder_bytes_max=8192,
    memory_events=50,
    reference_windows_max=100,
    block_windows=1,
    lag_windows=1,
    normal_windows_max=5,
    calibrated_events_min=10,
    incident_idle_ns=20 * SECOND_NS,
    bucket_ns=10 * SECOND_NS,
    bucket_grace_ns=SECOND_NS,
    trace_linger_ns=2 * SECOND_NS,
    trace_idle_ns=5 * SECOND_NS,
    trace_grace_ns=2 * SECOND_NS,
)
JOURNAL = JournalLimits(gather_ms=1, drain_timeout_ms=500)
DISPATCH = DispatchLimits(checkpoint_period_ns=5 * SECOND_NS, settle_ns=0, close_settle_ns=0)
STATEMENT_FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
PEOPLE_RATE = 0.03  # of seeds
EVENTS = ("kill", "freeze", "freeze and replace", "replace", "stop", "restart database", "outage", "clock", "slow")


@dataclass(frozen=True)
class Event:
    """Something that happens at `at_s` to whoever serves by then; `for_s` long, where it has a length."""

    at_s: float
    what: str
    for_s: float


@dataclass(frozen=True)
class Plan:
    """One run. Rates are shares of calls, statements or callbacks."""

    clients: int = 2
    requests: int = 3
    records: int = 6
    streams: int = 2
    odd_rate: float = 0.4
    numbers: bool = False
    spans: bool = False
    operator: bool = False
    people: int = 0  # things that people say of findings, anchors and redaction
    pace_ns: int = PACE_NS
    twin_rate: float = 0.0  # of requests that a second tenant sends as well, byte for byte
    rejected_rate: float = 0.0
    key_rate: float = 0.0  # of requests with a key of the sender, some of which it uses again for something else
    backlog_bytes_max: int = 1 << 30
    backlog_seconds_max: int = 10**6
    faults: tuple[Fault, ...] = ()
    fault_rate: float = 0.0
    drop_rate: float = 0.0
    mute_rate: float = 0.0
    double_rate: float = 0.0
    delay_s: float = 0.0
    shuffle: float = 0.0
    events: tuple[Event, ...] = ()
    fault_at: tuple[int, Fault] | None = None  # the one statement that goes wrong, by its number
    journal: JournalLimits = JOURNAL
    dispatch: DispatchLimits = DISPATCH
    limits: Limits = LIMITS
    profile: Profile = PROFILE
    trouble_s: float = 12.0
    stop_s: float = 1.0


def plan_of(rng: random.Random) -> Plan:
    """The plan that a seed draws."""
    some = [fault for fault in STATEMENT_FAULTS if rng.random() < 0.4]
    kinds = [kind for kind in EVENTS if rng.random() < 0.4]
    trouble_s = 12.0
    events = [
        Event(rng.random() * trouble_s, rng.choice(kinds), rng.choice((0.3, 2.0, 6.0)) * (0.5 + rng.random()))
        for _ in range(rng.randrange(4) if kinds else 0)
    ]
    dispatch = DispatchLimits(
        read_bytes_max=rng.choice((1, 600, 1 << 20)),
        inline_bytes=rng.choice((0, 1 << 20)),
        checkpoint_bytes=rng.choice((1, 400, 1 << 20)),
        checkpoint_period_ns=rng.choice((1, 5)) * SECOND_NS,
        resident_streams_max=rng.choice((1, 2, 1000)),
        step_checkpoints_max=rng.choice((1, 200)),
        clock_period_ns=rng.choice((2, 5)) * SECOND_NS,
        settle_ns=rng.choice((0, 10)) * SECOND_NS,
        close_settle_ns=rng.choice((0, 5)) * SECOND_NS,
        step_pause_s=rng.choice((0.0, 0.02)),
    )
    journal = JournalLimits(
        journal_bytes_max=rng.choice((6_000, 20_000, 1 << 30)),
        group_requests_max=rng.choice((1, 3, 512)),
        group_bytes_max=rng.choice((500, 1 << 20)),
        queue_requests_max=rng.choice((2, 4096)),
        queue_bytes_max=rng.choice((2_000, 64 << 20)),
        gather_ms=rng.choice((0, 4)),
        recent_bytes_max=rng.choice((0, 5_000, 1 << 20)),
        encode_inline_bytes_max=rng.choice((0, 1 << 20)),
        stream_cache_entries_max=rng.choice((1, 1000)),
        drain_timeout_ms=500,
        dedup_window_ms=rng.choice((2_000, 900_000)),
    )
    plan = Plan(
        clients=rng.choice((1, 2, 3)),
        requests=rng.choice((2, 3, 4)),
        records=rng.choice((2, 5, 8)),
        streams=rng.choice((1, 2, 3)),
        numbers=rng.random() < 0.1,
        spans=rng.random() < 0.1,
        operator=rng.random() < 0.3,
        twin_rate=rng.choice((0.0, 0.0, 0.5)),
        rejected_rate=rng.choice((0.0, 0.3)),
        key_rate=rng.choice((0.0, 0.0, 0.5)),
        backlog_bytes_max=rng.choice((500, 1 << 30, 1 << 30)),
        backlog_seconds_max=rng.choice((3, 10**6, 10**6)),
        faults=tuple(some),
        fault_rate=rng.choice((0.0, 0.01, 0.05, 0.15)) if some else 0.0,
        drop_rate=rng.choice((0.0, 0.0, 0.2)),
        mute_rate=rng.choice((0.0, 0.0, 0.2)),
        double_rate=rng.choice((0.0, 0.0, 0.3)),
        delay_s=rng.choice((0.0, 0.2, 2.0)),
        shuffle=rng.choice((0.0, 0.3)),
        events=tuple(sorted(events, key=lambda it: it.at_s)),
        journal=journal,
        dispatch=dispatch,
        trouble_s=trouble_s,
        stop_s=rng.choice((0.0, 1.0)),
    )
    return with_people(plan, rng) if rng.random() < PEOPLE_RATE else plan


def with_people(plan: Plan, rng: random.Random) -> Plan:
    """The same, with people who have something to say; where hours pass between few records, anchors are compared with."""
    said = replace(plan, people=rng.randint(2, 6), requests=5, odd_rate=0.6, pace_ns=rng.choice((PACE_NS, SLOW_NS)))
    if said.pace_ns == PACE_NS:
        return replace(said, streams=min(plan.streams, 2))
    return replace(said, records=20, streams=1, limits=replace(plan.limits, future_ns=YEAR_NS))


def calm(plan: Plan) -> Plan:
    """The same work, and nothing goes wrong."""
    return replace(plan, faults=(), fault_rate=0.0, drop_rate=0.0, mute_rate=0.0, double_rate=0.0, events=(), shuffle=0.0)
