"""Flags that wait: in the same buckets whatever comes in between, and cheap however many they are."""

from dataclasses import replace
from time import process_time
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.correlator import Correlator, Progress
from driftlock.engine.correlation.flag import Flag
from driftlock.engine.correlation.pending import Pending
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import content_id
from tests.engine.correlation.shop import LOGS, MAIL, MINUTE_NS, PAY, SPANS, START_NS, TENANT, TEXTS, blame, flag

START = START_NS // MINUTE_NS


def made(number: int, stream: UUID, window: int, minute: int) -> Flag:
    end_ns = START_NS + minute * MINUTE_NS
    return replace(flag(stream, 600), window=window, end_ns=end_ns, finding_id=content_id(str(number).encode()))


def plainly(flags: list[Flag], reached: dict[UUID, int]) -> dict[UUID, int]:
    """The bucket of each flag as it is defined: none is before that of an earlier window of its stream."""
    last, buckets = dict(reached), {}
    for it in sorted(flags, key=lambda it: it.window):
        buckets[it.finding_id] = last[it.stream_id] = max(last.get(it.stream_id, 0), it.end_ns // MINUTE_NS)
    return buckets


SOME = st.lists(st.tuples(st.sampled_from((LOGS, PAY, MAIL)), st.integers(0, 9), st.integers(0, 9)), max_size=25)


@settings(deadline=None)
@given(SOME, st.lists(st.integers(0, 12), max_size=6), st.integers(0, 9))
def test_every_flag_is_taken_with_its_bucket_when_that_is_over(
    drawn: list[tuple[UUID, int, int]], overs: list[int], reached: int
) -> None:
    pending, known, waiting = Pending(MINUTE_NS), {LOGS: START + reached}, [made(n, *it) for n, it in enumerate(drawn)]
    for it in waiting:
        pending.add(it, known.get(it.stream_id, 0))
    buckets = plainly(waiting, known)
    for over in (*[START + it for it in overs], None):
        taken = pending.take(over)
        assert [bucket for bucket, _ in taken] == sorted(bucket for bucket, _ in taken)
        assert {it.finding_id: bucket for bucket, it in taken} == {
            it.finding_id: buckets[it.finding_id] for it in waiting if over is None or buckets[it.finding_id] < over
        }
        gone = {it.finding_id for _, it in taken}
        waiting = [it for it in waiting if it.finding_id not in gone]
        assert list(pending) == waiting
        assert len(pending) == len(waiting)
        assert [pending.of_stream(stream) for stream in (LOGS, PAY)] == [
            any(it.stream_id == stream for it in waiting) for stream in (LOGS, PAY)
        ]


def test_it_knows_what_flags_name_while_they_wait() -> None:
    pending = Pending(MINUTE_NS)
    pending.add(flag(LOGS, 60, traces=("a" * 32,)), 0)
    pending.add(flag(LOGS, 180), 0)
    assert pending.name("a" * 32)
    assert pending.name("shop/cart@prod")
    assert not pending.name("shop/pay@prod")
    assert len(pending.take(START + 2)) == 1
    assert not pending.name("a" * 32)
    assert pending.name("shop/cart@prod")
    pending.restore([flag(PAY, 60)], {PAY: START + 7})
    assert [bucket for bucket, _ in pending.take(None)] == [START + 3, START + 7]
    assert not pending.name("shop/cart@prod")


def test_a_row_costs_the_same_however_many_flags_wait() -> None:
    """Thousands of rows behind a stream that lags: sorting what waits for each of them would take ten times as long."""
    fold = Correlator(TENANT, Limits())
    fold.derived(LOGS, Progress(START_NS, 1, START_NS, stream=TEXTS[LOGS]), [])
    many = [replace(blame(60 + number, f"s{number % 50}"), window=number) for number in range(9000)]
    fold.derived(SPANS, Progress(START_NS + MINUTE_NS, 1, START_NS, stream=TEXTS[SPANS]), many)
    began = process_time()
    for number in range(2000):
        assert fold.derived(SPANS, Progress(START_NS + MINUTE_NS + number, 1, START_NS, stream=TEXTS[SPANS]), []) == []
    assert process_time() - began < 1.0
