"""What a relay tells: all that counts, once, in order, in the same bytes; and what it leaves out."""

import pytest

from driftlock.engine.correlation.derived import Derived, derived_bytes, derived_from
from driftlock.engine.correlation.flag import Progress
from driftlock.engine.correlation.relay import Relay
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.fold import Summary
from driftlock.engine.limits import Limits
from driftlock.engine.records import Damaged
from driftlock.engine.state import pack
from driftlock.v1 import derived_pb2, state_pb2
from tests.engine.correlation.shop import LOGS, PAY, SPANS, START_NS, TEXTS, blame, flag

SERIES = SeriesEvidence("up{}", 1.0, 0.5, 0.1, 0.9, 3.5, 0.7, "spike", START_NS, "pod-1")
SUMMARY = Summary(28_333_333, 4, "pod-1", 60, 12, 3, 2.5, (SERIES,))


def progress(seconds: int, due_ns: int = 0) -> Progress:
    return Progress(START_NS + seconds, 1, START_NS, due_ns=due_ns, stream=TEXTS[LOGS], alerts_per_day_max=3)


def told(relay: Relay) -> list[Derived]:
    body = relay.take_told()
    return [] if body is None else derived_from(body)


def test_entries_come_back_as_they_were_and_equal_ones_give_equal_bytes() -> None:
    entries = [
        Derived(LOGS, progress(1), (flag(LOGS, 60, traces=("a" * 32,)),), (SUMMARY,)),
        Derived(SPANS, progress(2), (blame(60, "pay@prod", "cart@prod"),)),
        Derived(PAY, None, (flag(PAY, 120),)),
    ]
    assert derived_from(derived_bytes(entries)) == entries
    assert derived_bytes(entries) == derived_bytes(list(entries))


def test_what_no_relay_tells_is_damaged() -> None:
    nothing = derived_pb2.DerivedEntry(stream_id=PAY.bytes)
    nobody = derived_pb2.DerivedEntry(stream_id=b"x", progress=state_pb2.StreamProgress())
    for entry in (nothing, nobody):
        with pytest.raises(Damaged):
            derived_from(pack(derived_pb2.DerivedBatch(entry=[entry])))


def test_of_progress_alone_the_newest_is_told() -> None:
    relay = Relay(Limits())
    relay.derived(LOGS, progress(1), ())
    relay.derived(PAY, progress(1), ())
    relay.derived(LOGS, progress(2), [flag(LOGS, 60)])
    relay.derived(LOGS, progress(3), ())
    relay.derived(LOGS, progress(4), (), [SUMMARY])
    relay.derived(LOGS, progress(5), ())
    assert [(it.stream_id, it.progress and it.progress.watermark_ns - START_NS) for it in told(relay)] == [
        (PAY, 1),
        (LOGS, 2),
        (LOGS, 4),
        (LOGS, 5),
    ]
    assert told(relay) == []


def test_who_falls_silent_has_been_heard_before_and_is_told_once() -> None:
    relay = Relay(Limits())
    relay.derived(LOGS, progress(1, START_NS + 9), ())
    assert relay.silent(flag(LOGS, 60)) == []
    assert relay.silent(flag(LOGS, 120)) is None
    relay.derived(LOGS, progress(2, START_NS + 99), ())
    assert [it.progress is None for it in told(relay)] == [False, True, False]
    assert relay.silent(flag(PAY, 60)) is None


def test_a_relay_goes_on_from_its_bytes() -> None:
    relay, again = Relay(Limits()), Relay(Limits())
    relay.derived(LOGS, progress(1, START_NS + 9), ())
    relay.derived(PAY, progress(1, START_NS + 9), ())
    relay.silent(flag(LOGS, 60))
    again.restore(relay.to_bytes())
    assert again.to_bytes() == relay.to_bytes()
    assert again.silent(flag(LOGS, 120)) is None
    assert again.due(START_NS + 9) == [PAY]
    again.give_up(START_NS + 9)
    assert again.first_due_ns() is None


def test_a_relay_forgets_who_has_been_quiet_for_long() -> None:
    relay = Relay(Limits())
    empty = relay.to_bytes()
    relay.derived(LOGS, progress(1), ())
    relay.clock(START_NS + Limits().incident_idle_ns)
    assert relay.to_bytes() != empty
    relay.clock(START_NS + Limits().incident_idle_ns + 1)
    assert relay.to_bytes() == empty
