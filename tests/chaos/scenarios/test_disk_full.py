"""The database's disk is full for three seconds."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.disk_full import disk_full

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    report = disk_full(tmp_path, seconds=3.0)
    if report.skipped:
        pytest.skip(report.skipped)
    assert not report.violations, report.text()
