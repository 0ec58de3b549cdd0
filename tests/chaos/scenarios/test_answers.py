"""PostgreSQL says for a second each that it is read-only, has too many connections, and ends them."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.answers import database_answers

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_what_postgresql_can_not_do_now_is_retryable(tmp_path: Path) -> None:
    report = database_answers(tmp_path, seconds=1.0)
    assert not report.violations, report.text()
