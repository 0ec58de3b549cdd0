"""A damaged row of the journal, and damaged checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.scenarios.bit_flips import damaged_both_checkpoints, damaged_newest_checkpoint, damaged_row
from tests.chaos.scenarios.report import Report

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]
SCENARIOS = [damaged_row, damaged_newest_checkpoint, damaged_both_checkpoints]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_is_damaged_alone_is_lost(tmp_path: Path, scenario: Callable[[Path], Report]) -> None:
    report = scenario(tmp_path)
    assert not report.violations, report.text()
