"""Sixty kill -9 of the serving process, and a few of each other fault, under sixteen closed-loop clients."""

import faulthandler
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.scene import open_site

pytestmark = pytest.mark.e2e
KILLS, BACKEND_KILLS, IMMEDIATE_STOPS, LOST_ANSWERS, ZOMBIES = 60, 3, 2, 10, 2


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    # Minutes are its nature, and everything that it waits for has a limit of its own.
    faulthandler.cancel_dump_traceback_later()
    with open_site(tmp_path) as site:
        faults.repeat(site, KILLS, faults.kill)
        faults.repeat(site, BACKEND_KILLS, faults.backend_kill)
        faults.repeat(site, IMMEDIATE_STOPS, faults.immediate_stop)
        faults.repeat(site, LOST_ANSWERS, faults.lost_answer)
        faults.repeat(site, ZOMBIES, faults.zombie)
        site.clients.wait_for_findings()
        judgement = site.judge()
    assert judgement.verdict.line == "LOST=0 DUP=0 GAPS=0", judgement.verdict.samples
    assert judgement.clean, (judgement.line, judgement.different)
    assert judgement.acknowledged == judgement.verdict.records
    assert judgement.findings > 0
    assert judgement.incidents > 0
