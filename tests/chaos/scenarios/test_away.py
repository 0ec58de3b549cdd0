"""The database is away for six seconds."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.away import AwayLimits, database_away

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]
# Machines that run tests are shared: what is refused at once may still wait for a processor.
PATIENT = AwayLimits(refusal_s_max=3.0)


def test_nothing_is_lost_while_the_database_is_away(tmp_path: Path) -> None:
    report = database_away(tmp_path, seconds=6.0, limits=PATIENT)
    assert not report.violations, report.text()
