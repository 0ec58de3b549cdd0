"""Some seconds of messages that are together larger than the server's memory."""

from pathlib import Path

import pytest

from tests.chaos.scenarios.memory import large_messages

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_large_messages_are_refused_before_memory_is_gone(tmp_path: Path) -> None:
    report = large_messages(tmp_path, seconds=4.0)
    assert not report.violations, report.text()
