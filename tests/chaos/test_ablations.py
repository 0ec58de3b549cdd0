"""A server without one of its promises has to be found out, and by the checker that is there for it."""

from pathlib import Path

import pytest

from tests.chaos.ablations import caught

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_an_acknowledgement_before_the_commit_is_a_loss(tmp_path: Path) -> None:
    report = caught("ack-before-commit", tmp_path)
    assert report.violations
    assert "LOST=0 " not in report.violations[0]


def test_without_deduplication_a_resend_is_there_twice(tmp_path: Path) -> None:
    report = caught("no-dedup", tmp_path)
    assert report.violations
    assert "DUP=0 " not in report.violations[0]
    assert report.violations[0].startswith("LOST=0 ")


def test_without_a_fence_a_zombie_goes_on(tmp_path: Path) -> None:
    report = caught("no-fence", tmp_path)
    assert report.violations
    assert "was taken over" in report.violations[0]
