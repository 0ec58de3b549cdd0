from uuid import UUID

import pytest

from driftlock import errors
from driftlock.accounts.metering import (
    REFUSALS,
    Because,
    IngestMeter,
    IngestMeters,
    NullIngestMeter,
    Refusal,
    UnjournaledTally,
    refusal_of,
)
from driftlock.errors import Code, InvalidArgument, KeyReused, Unavailable
from tests.accounts.counting import CountingMeter

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def test_every_code_has_a_reason() -> None:
    assert set(REFUSALS) == set(Code)


@pytest.mark.parametrize("refusal", Refusal)
def test_an_error_keeps_its_own_reason(refusal: Refusal) -> None:
    assert refusal_of(Unavailable("x", reason=refusal)) is refusal


def test_errors_without_a_reason_have_that_of_their_code() -> None:
    assert refusal_of(KeyReused("x")) is Refusal.KEY_REUSED
    assert refusal_of(KeyError("x")) is refusal_of(errors.Internal("x")) is Refusal.INTERNAL


def test_a_stage_gives_a_reason_to_errors_without_one() -> None:
    stage = Because({Code.INVALID_ARGUMENT: Refusal.DAMAGED})
    for error, reason in (
        (InvalidArgument("x"), Refusal.DAMAGED),
        (InvalidArgument("x", reason=Refusal.BAD_LENGTH), Refusal.BAD_LENGTH),
        (Unavailable("x"), Refusal.UNAVAILABLE),
    ):
        with pytest.raises(type(error)), stage:
            raise error
        assert refusal_of(error) is reason


def tell(meter: IngestMeter) -> None:
    meter.received(ONE, "logs", 30)
    meter.accepted("logs", 3, 100)
    meter.rejected(ONE, "logs", "too_deep", 2)
    meter.rejected(ONE, "logs", "too_deep", 5, journaled=False)
    meter.refused(ONE, "logs", Refusal.UNAVAILABLE, 7)
    meter.refused(ONE, "logs", Refusal.MALFORMED)
    meter.refused(None, "logs", Refusal.UNAUTHENTICATED)
    meter.refused(None, None, Refusal.UNKNOWN_PATH)
    meter.duplicate("logs", 4)
    meter.altered("logs", "truncated", 1)


def test_several_meters_are_told_the_same() -> None:
    alone, first, second = CountingMeter(), CountingMeter(), CountingMeter()
    tell(alone)
    tell(IngestMeters(first, NullIngestMeter(), second))
    assert alone == first == second


def test_the_tally_holds_what_never_reached_the_journal() -> None:
    tally = UnjournaledTally()
    tell(tally)
    tell(tally)
    tally.refused(TWO, "traces", Refusal.INTERNAL, 1)
    assert tally.take() == {(ONE, "logs"): (10, 14), (TWO, "traces"): (0, 1)}
    assert tally.take() == {}


def test_what_could_not_be_written_is_kept() -> None:
    tally = UnjournaledTally()
    tell(tally)
    taken = tally.take()
    tell(tally)
    tally.put_back(taken)
    assert tally.take() == {(ONE, "logs"): (10, 14)}


def test_tenants_max() -> None:
    asked: list[int] = []
    tally = UnjournaledTally(tenants_max=2, on_full=lambda: asked.append(1))
    tally.refused(ONE, "logs", Refusal.UNAVAILABLE, 1)
    assert not asked
    tally.refused(TWO, "logs", Refusal.UNAVAILABLE, 1)
    tally.refused(THREE, "logs", Refusal.UNAVAILABLE, 5)
    tally.refused(ONE, "traces", Refusal.UNAVAILABLE, 1)
    assert (len(asked), tally.dropped_records) == (1, 5)
    assert tally.take() == {(ONE, "logs"): (0, 1), (TWO, "logs"): (0, 1), (ONE, "traces"): (0, 1)}
    tally.refused(THREE, "logs", Refusal.UNAVAILABLE, 5)
    assert tally.take() == {(THREE, "logs"): (0, 5)}
    with pytest.raises(ValueError, match="tenants_max"):
        UnjournaledTally(tenants_max=0)
