"""Two processes of a site of many are killed, with whatever else comes between."""

import faulthandler
from pathlib import Path

import pytest

from tests.chaos.parts import Order
from tests.chaos.scaled.parts import scaled_out

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


def test_nothing_is_lost_and_nothing_is_there_twice_where_many_processes_share_the_work(tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # minutes are its nature, and all that it waits for has a limit of its own
    report = scaled_out(Order(tmp_path, 2, seed=2))
    assert not report.violations, report.text()
