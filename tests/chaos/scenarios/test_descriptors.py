"""Two seconds without a file descriptor."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.descriptors import no_descriptors

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_without_descriptors_what_is_open_goes_on(tmp_path: Path) -> None:
    report = no_descriptors(tmp_path, seconds=2.0)
    assert not report.violations, report.text()
