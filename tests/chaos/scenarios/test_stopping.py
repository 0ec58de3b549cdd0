"""Five times SIGTERM under load."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.stopping import stop_under_load

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_a_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    report = stop_under_load(tmp_path, times=5)
    assert not report.violations, report.text()
