"""The database answers a second late for some seconds, and breaks connections."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.slow import database_slow

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_a_slow_database_turns_nobody_away(tmp_path: Path) -> None:
    report = database_slow(tmp_path, seconds=4.0)
    assert not report.violations, report.text()
