"""What goes on is told again."""

import itertools
import random

import pytest

from cbad_cy.calls import CallTable
from tests.cbad_cy.call_traces import OPERATIONS, SERVICES, STORE, S, fed, shop_trace, usual_traces
from tests.cbad_cy.test_calls import USUAL, Fault, failing, slow_store


@pytest.mark.parametrize("fault", [slow_store, failing(STORE)])
def test_what_goes_on_is_told_once_a_minute_and_no_longer(fault: Fault) -> None:
    """With all that came since it began; a minute after its end nothing is told any more."""
    table, source, until = CallTable(operations_max=OPERATIONS), random.Random(1), USUAL + 10_000
    fed(table, usual_traces(USUAL), SERVICES)
    faulty = [(fault if number % 3 else shop_trace)(number, source) for number in range(USUAL, until)]
    usual = [shop_trace(number, source) for number in range(until, until + 6000)]
    judgements = [it for it in fed(table, faulty + usual, SERVICES) if it.operation == STORE and it.pool == 0]
    times = [it.time_ns for it in judgements]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) > 5
    assert 60 * S <= min(gaps) <= max(gaps) < 120 * S
    assert faulty[-1].closed_ns - 90 * S < times[-1] < faulty[-1].closed_ns + 60 * S
    assert {it.question for it in judgements} == {judgements[0].question}
    assert judgements[0].calls < judgements[-1].calls
    assert all(0.5 <= it.score < 1 for it in judgements)
