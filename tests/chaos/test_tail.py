"""The checker says what is lost, what is there twice, and what is missing in between."""

from array import array
from uuid import UUID

import pytest

from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.records import encode
from tests.chaos.tail import Tail

KEY = StreamKey(Signal.LOGS, "chaos-0")


def row(seq: int, *names: str) -> JournalRow:
    texts = [f"INFO all is well id={name};".encode() for name in names]
    batch = RecordBatch(b"".join(texts), array("I", map(len, texts)), array("Q", range(1, len(texts) + 1)))
    return JournalRow(seq, RowKind.RECORDS, 1, encode(batch), UUID(int=1), UUID(int=2), KEY)


def tail(*rows: JournalRow) -> Tail:
    made = Tail("postgresql://nobody@127.0.0.1:1/none")
    for each in rows:
        made._take(each)
    return made


CASES = {
    "whole": ([row(1, "c0-1", "c0-2"), row(2, "c1-1")], {"c0": 2, "c1": 1}, "LOST=0 DUP=0 GAPS=0"),
    "lost": ([row(1, "c0-1"), row(2, "c1-1")], {"c0": 2, "c1": 1}, "LOST=1 DUP=0 GAPS=0"),
    "lost-in-between": ([row(1, "c0-1", "c0-3")], {"c0": 3}, "LOST=1 DUP=0 GAPS=0"),
    "twice": ([row(1, "c0-1"), row(2, "c0-1")], {"c0": 1}, "LOST=0 DUP=1 GAPS=0"),
    "twice-in-a-row": ([row(1, "c0-1", "c0-1")], {"c0": 1}, "LOST=0 DUP=1 GAPS=0"),
    "gap": ([row(1, "c0-1"), row(3, "c0-2")], {"c0": 2}, "LOST=0 DUP=0 GAPS=1"),
    "not-acknowledged": ([row(1, "c0-1", "c0-2")], {"c0": 1}, "LOST=0 DUP=0 GAPS=0"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_verdict(name: str) -> None:
    rows, acked, line = CASES[name]
    verdict = tail(*rows).check(acked)
    assert verdict.line == line
    assert verdict.clean is (line == "LOST=0 DUP=0 GAPS=0")


def test_a_tail_that_ends_says_why() -> None:
    """Whatever ends it: what came after it was not looked at."""
    with Tail("postgresql://nobody@127.0.0.1:port/none") as made:
        made._thread.join(10)
    verdict = made.check({})
    assert not verdict.clean
    assert verdict.samples[0].startswith("after 0 the tail ended: ")


def test_a_row_that_can_not_be_read_is_counted() -> None:
    damaged = JournalRow(2, RowKind.RECORDS, 1, b"", UUID(int=1), UUID(int=2), KEY)
    verdict = tail(row(1, "c0-1"), damaged).check({"c0": 2})
    assert (verdict.unreadable, verdict.lost) == (1, 1)
