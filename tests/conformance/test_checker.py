"""The checker has teeth: servers that break the contract are found out."""

from dataclasses import replace

import pytest

from driftlock.engine.event import Signal
from tests.conformance import wire
from tests.conformance.contract import Conservation, Counted, Kind, Ledger, Outcome, Parcel, Shape, cases, check_outcome, items

TRUTH = Ledger(in_journal=5, metered=5, received=5, journaled=5)
LIES = {
    "ok before the commit": (Outcome(Kind.ACCEPTED), Ledger()),
    "one record lost": (Outcome(Kind.ACCEPTED), Ledger(4, 4, 5, 4)),
    "one record lost and nobody told": (Outcome(Kind.ACCEPTED), Ledger(4, 4, 4, 4)),
    "journaled twice": (Outcome(Kind.ACCEPTED), Ledger(10, 10, 10, 10)),
    "a row more than the ledger has": (Outcome(Kind.ACCEPTED), replace(TRUTH, in_journal=6)),
    "not metered": (Outcome(Kind.ACCEPTED), replace(TRUTH, metered=0)),
    "metered twice": (Outcome(Kind.ACCEPTED), replace(TRUTH, metered=10)),
    "received and nothing became of it": (Outcome(Kind.ACCEPTED), replace(TRUTH, received=6)),
    "refused and yet journaled": (Outcome(Kind.RETRYABLE, retry_after_ms=1), TRUTH),
    "rejected and yet journaled": (Outcome(Kind.PARTIAL, rejected=2), TRUTH),
    "rejected in silence": (Outcome(Kind.ACCEPTED), Ledger(3, 3, 5, 3, 2)),
    "refused behind the sender's back": (Outcome(Kind.ACCEPTED), replace(TRUTH, received=6, refused=1)),
    "a duplicate of nothing": (Outcome(Kind.ACCEPTED), Ledger(0, 0, 5, 0, 0, 0, 5)),
}


@pytest.mark.parametrize("lie", LIES)
def test_records_that_are_not_where_the_answer_says(lie: str) -> None:
    outcome, ledger = LIES[lie]
    total = Conservation()
    total.count(outcome, 5)
    with pytest.raises(AssertionError):
        total.check(ledger)


def test_the_truth_passes() -> None:
    total = Conservation()
    total.count(Outcome(Kind.ACCEPTED), 5)
    total.count(Outcome(Kind.ACCEPTED), 5, duplicate=True)
    total.count(Outcome(Kind.PARTIAL, rejected=2), 5)
    total.count(Outcome(Kind.TOO_LARGE), 5)
    assert (total.journaled, total.rejected, total.refused, total.deduplicated) == (8, 2, 5, 5)
    for refused in (0, 5):  # what was refused before it was decoded is nobody's knowledge
        ledger = Ledger(8, 8, 15 + refused, 8, 2, refused, 5)
        total.check(ledger)
        total.check_counted(Counted(15 + refused, 8, 2, refused, 5, 1), ledger)


MISCOUNTED = {
    "in no way": Counted(15, 8, 2, 0, 4, 1),
    "in two ways": Counted(15, 8, 2, 0, 6, 1),
    "a refusal twice": Counted(15, 8, 2, 0, 5, 2),
    "a refusal not at all": Counted(15, 8, 2, 0, 5, 0),
    "other than the ledger": Counted(20, 8, 2, 5, 5, 1),
}


@pytest.mark.parametrize("how", MISCOUNTED)
def test_a_process_that_counts_otherwise(how: str) -> None:
    total = Conservation(journaled=8, rejected=2, refused=5, deduplicated=5, refusals=1)
    with pytest.raises(AssertionError):
        total.check_counted(MISCOUNTED[how], Ledger(8, 8, 15, 8, 2, 0, 5))


WRONG = {
    "refused for good what could be sent again": (Outcome(Kind.PERMANENT, message="m"), Kind.RETRYABLE),
    "no hint": (Outcome(Kind.RETRYABLE, message="m"), Kind.RETRYABLE),
    "a hint of no time": (Outcome(Kind.RETRYABLE, retry_after_ms=0, message="m"), Kind.RETRYABLE),
    "a hint of an hour": (Outcome(Kind.RETRYABLE, retry_after_ms=3_600_000, message="m"), Kind.RETRYABLE),
    "a hint that does not help": (Outcome(Kind.TOO_LARGE, retry_after_ms=1000, message="m"), Kind.TOO_LARGE),
    "an error without a word": (Outcome(Kind.PERMANENT), Kind.PERMANENT),
    "a partial success of nothing": (Outcome(Kind.PARTIAL, message="m"), Kind.ACCEPTED),
    "another number": (Outcome(Kind.PARTIAL, rejected=1, message="m"), Kind.PARTIAL),
    "no reason": (Outcome(Kind.PARTIAL, rejected=2), Kind.PARTIAL),
    "a novel": (Outcome(Kind.PARTIAL, rejected=2, message="m" * 1025), Kind.PARTIAL),
    "fewer than were sent": (Outcome(Kind.ACCEPTED, accepted=4), Kind.ACCEPTED),
}


@pytest.mark.parametrize("what", WRONG)
def test_answers_that_are_not_what_clients_need(what: str) -> None:
    outcome, kind = WRONG[what]
    with pytest.raises(AssertionError):
        check_outcome(outcome, kind, 5, 2)


def test_parcels_are_what_they_say() -> None:
    for case in cases():
        if case.parcel.shape in (Shape.OVERSIZE, Shape.BOMB, Shape.FLOOD):
            continue  # large, and without anything that could vary
        for write in (wire.protobuf, wire.otlp_json):
            again = replace(case.parcel, key="another")
            assert write(case.parcel) == write(again)
    parcel = Parcel(Signal.LOGS, items(2))
    assert wire.protobuf(parcel) != wire.protobuf(replace(parcel, service="other"))
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
