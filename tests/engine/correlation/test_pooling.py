"""Sums over the series of a resource, minute by minute, as the tenant judges them."""

import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.correlator import Correlator, Progress
from driftlock.engine.correlation.past_sums import NUMBERS_MIN, PastSums
from driftlock.engine.correlation.pooling import WAITING_MAX, Pool
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.fold import Summary
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.ports import FindingRow
from driftlock.engine.verdict import Finding, Question

TENANT = UUID(int=1)
STREAMS = {"metrics:shop": UUID(int=2), "metrics:cart": UUID(int=3)}
BEGIN = 29_000_000


def evidence(resource: str, place: int, digits: float) -> SeriesEvidence:
    name = f"metric {place}"
    return SeriesEvidence(name, 9.0, 2.0, 1.0, 3.0, digits * 3.32, digits / 7, "slow", 0, resource)


def summary(minute: int, resource: str, digits: float, *, named: int = 4) -> Summary:
    strongest = tuple(evidence(resource, place, 1.5) for place in range(named)) if digits >= 3 else ()
    return Summary(minute, minute - BEGIN, resource, 20, 20, named if strongest else 1, digits, strongest)


class Tenant:
    """A correlator that is told the minutes of streams, and what it found."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.fold = Correlator(TENANT, self.limits)
        self.found: list[FindingRow] = []
        self.incidents: dict[UUID, tuple[UUID, ...]] = {}

    def say(self, stream: str, minute: int, *said: Summary) -> None:
        """What is said of earlier minutes, when the stream is in `minute`."""
        progress = Progress(minute * MINUTE_NS, minute - BEGIN, minute * MINUTE_NS, stream=stream)
        for row in self.fold.derived(STREAMS[stream], progress, (), said):
            self.incidents.setdefault(row.incident.incident_id, ())
            self.incidents[row.incident.incident_id] += row.joined
        self.found += self.fold.take_findings()

    def restart(self) -> None:
        body = self.fold.to_bytes()
        self.fold = Correlator(TENANT, self.limits)
        self.fold.restore(body)
        assert self.fold.to_bytes() == body

    @property
    def findings(self) -> list[Finding]:
        return [row.finding for row in self.found]


def quiet(rng: random.Random) -> float:
    """What usual minutes say: in 1/1024 digits."""
    return int(rng.expovariate(1.0) * 1024) / 1024


def usual(tenant: Tenant, minutes: int, resources: list[str], *, seed: int = 0) -> None:
    rng = random.Random(seed)
    for minute in range(BEGIN, BEGIN + minutes):
        tenant.say("metrics:shop", minute + 1, *(summary(minute, resource, quiet(rng)) for resource in resources))


PODS = [f"pod-{place}" for place in range(6)]


def test_one_resource_that_says_more_than_ever_is_found_with_its_strongest_series() -> None:
    tenant = Tenant()
    usual(tenant, 200, PODS)
    assert tenant.found == []
    for ahead in range(3):
        said = (summary(BEGIN + 200 + ahead, pod, 25.0 if pod == "pod-3" else 0.5) for pod in PODS)
        tenant.say("metrics:shop", BEGIN + 201 + ahead, *said)
    finding = tenant.findings[0]
    assert (finding.question, finding.subject, finding.stream) == (Question.TOGETHER, "pod-3", "metrics:shop")
    assert finding.start_ns == (BEGIN + 200) * MINUTE_NS
    assert finding.end_ns in {(BEGIN + 201) * MINUTE_NS - 1, (BEGIN + 202) * MINUTE_NS - 1}
    assert finding.window == finding.end_ns // MINUTE_NS - BEGIN
    assert [it.series for it in finding.series] == [f"metric {place}" for place in range(4)]
    assert finding.explanation.startswith("4 of 20 series of pod-3 are unusual at once, none by itself enough: `metric 0` 9")
    assert 0 < finding.p_value <= finding.p_value_threshold < 10**-4
    assert finding.ncd >= finding.ncd_threshold == 0.5
    assert len(tenant.incidents) == 1
    assert {row.finding_id for row in tenant.found} == {it for joined in tenant.incidents.values() for it in joined}


def test_what_moves_all_resources_is_no_resources_fault() -> None:
    tenant = Tenant()
    usual(tenant, 200, PODS)
    for ahead in range(5):
        tenant.say("metrics:shop", BEGIN + 201 + ahead, *(summary(BEGIN + 200 + ahead, pod, 25.0) for pod in PODS))
    assert tenant.found == []


def test_a_resource_without_peers_is_compared_with_its_own_past_alone() -> None:
    tenant = Tenant()
    usual(tenant, 200, ["host"])
    tenant.say("metrics:shop", BEGIN + 201, summary(BEGIN + 200, "host", 60.0))
    assert [finding.subject for finding in tenant.findings] == ["host"]


def test_a_sender_without_a_name_is_its_service() -> None:
    tenant = Tenant()
    usual(tenant, 200, [""])
    tenant.say("metrics:shop", BEGIN + 201, summary(BEGIN + 200, "", 60.0))
    assert [finding.subject for finding in tenant.findings] == ["shop"]


def test_what_lasts_is_told_every_few_minutes() -> None:
    tenant = Tenant()
    usual(tenant, 400, PODS)
    for ahead in range(11):
        said = (summary(BEGIN + 400 + ahead, pod, 40.0 if pod == "pod-1" else 0.5) for pod in PODS)
        tenant.say("metrics:shop", BEGIN + 401 + ahead, *said)
    ends = [finding.end_ns // MINUTE_NS - BEGIN - 400 for finding in tenant.findings]
    assert ends[0] in {0, 1}
    assert 2 <= len(ends) <= 4
    assert len(tenant.incidents) == 1


def test_streams_speak_of_one_resource_together_and_the_louder_one_owns_the_finding() -> None:
    tenant = Tenant()
    for minute in range(BEGIN, BEGIN + 200):
        for stream in STREAMS:
            tenant.say(stream, minute + 1, summary(minute, "host", 0.5))
    tenant.say("metrics:shop", BEGIN + 201, summary(BEGIN + 200, "host", 20.0))
    assert tenant.found == [], "the other stream has not passed this minute"
    tenant.say("metrics:cart", BEGIN + 201, summary(BEGIN + 200, "host", 21.0))
    [row] = tenant.found
    assert (row.stream_id, row.finding.stream) == (STREAMS["metrics:cart"], "metrics:cart")
    assert row.finding.explanation.startswith("8 of 40 series of host")
    assert len(row.finding.series) == 8


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 7), st.booleans())
def test_who_speaks_first_and_restarts_change_no_finding(seed: int, chunk: int, restart: bool) -> None:
    rng = random.Random(seed)
    said = {
        stream: [
            [summary(BEGIN + minute, pod, 30.0 if pod == "pod-0" and minute > 45 else quiet(rng)) for pod in PODS[:5]]
            for minute in range(50)
        ]
        for stream in STREAMS
    }

    def run(size: int, *, shuffled: bool) -> list[tuple[UUID, bytes]]:
        tenant = Tenant()
        queue = {stream: list(range(0, 50, size)) for stream in STREAMS}
        for stream in STREAMS:
            tenant.say(stream, BEGIN)
        while any(queue.values()):
            ready = [stream for stream in STREAMS if queue[stream]]
            stream = rng.choice(ready) if shuffled else ready[0]
            begin = queue[stream].pop(0)
            part = [it for minutes in said[stream][begin : begin + size] for it in minutes]
            tenant.say(stream, BEGIN + min(50, begin + size), *part)
            if restart and shuffled:
                tenant.restart()
        return [(row.finding_id, row.finding.to_json()) for row in tenant.found]

    whole = run(50, shuffled=False)
    assert whole
    assert run(chunk, shuffled=True) == whole


def test_resources_beyond_the_limit_are_forgotten_the_longest_unseen_first() -> None:
    limits = replace(Limits(), pool_resources_max=3)
    pool = Pool(TENANT, limits)
    for minute, pods in enumerate((PODS[:3], PODS[1:4], PODS)):
        pool.take(STREAMS["metrics:shop"], [summary(BEGIN + minute, pod, 1.0) for pod in pods], Progress(0, 0, 0))
        pool.close(None, {})
        assert list(pool.resources) == pods[-3:]


def test_so_much_may_wait() -> None:
    tenant = Tenant()
    tenant.say("metrics:cart", BEGIN)
    many = [summary(BEGIN + minute, f"pod-{place}", 0.5) for minute in range(-(-WAITING_MAX // 1000)) for place in range(1000)]
    tenant.say("metrics:shop", BEGIN + 1000, *many)
    assert tenant.fold.waiting_at(2**63)
    tenant.say("metrics:shop", BEGIN + 1000, summary(BEGIN + 999, "pod-0", 0.5))
    assert not tenant.fold.waiting_at(2**63)


def test_the_clock_closes_minutes_that_wait_for_a_slower_stream() -> None:
    tenant = Tenant()
    tenant.say("metrics:cart", BEGIN)
    tenant.say("metrics:shop", BEGIN + 1, summary(BEGIN, "host", 0.5))
    assert tenant.fold.waiting_at((BEGIN + 1) * MINUTE_NS)
    tenant.fold.clock((BEGIN + 1) * MINUTE_NS + tenant.limits.bucket_grace_ns)
    assert not tenant.fold.waiting_at(2**63)


def test_a_minute_that_was_judged_is_not_judged_again() -> None:
    tenant = Tenant()
    usual(tenant, 200, PODS)
    before = tenant.fold.to_bytes()
    tenant.say("metrics:shop", BEGIN + 200, summary(BEGIN + 100, "pod-5", 60.0))
    assert tenant.found == []
    assert tenant.fold.to_bytes() == before


def test_a_past_says_how_rare_a_number_is() -> None:
    past = PastSums()
    assert [past.judge(float(number)) for number in range(NUMBERS_MIN)] == [0.0] * NUMBERS_MIN
    for number in range(995):
        past.judge((number % 100) / 10)
    assert past.judge(5.2) == pytest.approx(0.32, abs=0.05), "about half of the past"
    far = [replace_past(past).judge(number) for number in (12.0, 20.0, 40.0, 1e9)]
    assert far == sorted(far)
    assert far[0] > 1
    assert far[-1] == 30.0


def replace_past(past: PastSums) -> PastSums:
    return replace(past, bins=dict(past.bins))


def test_weights_of_a_long_past_stay_small() -> None:
    past = PastSums()
    for number in range(100_000):
        past.judge(float(number % 7))
    assert past.weight < 10**4
    assert past.total / past.weight == pytest.approx(10_000, rel=0.05), "of about the newest ten thousand"
    assert past.judge(3.0) == pytest.approx(0.3, abs=0.05)
