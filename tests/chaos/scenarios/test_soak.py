"""A soak of thirty seconds; its limits are those of so short a time."""

import json
from pathlib import Path

import pytest

from tests.chaos.scenarios.soak import FAULTS, Pace, soak
from tests.chaos.scenarios.soak_samples import MIB, GrowthLimits

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]
SHORT = Pace(total_s=30.0, capacity_s=2.0, fault_s=2.5, sample_s=0.5, write_s=5.0)
# A start of the server falls into some third or other, and tables fill up from nothing.
LIMITS = GrowthLimits(
    resident_bytes_growth_max=128 * MIB,
    life_resident_bytes_growth_max=64 * MIB,
    threads_growth_max=12,
    table_bytes_growth_max=96 * MIB,
)


def test_a_short_soak(tmp_path: Path) -> None:
    results = tmp_path / "soak.json"
    report = soak(tmp_path, pace=SHORT, limits=LIMITS, results=results)
    assert not report.violations, report.text()
    written = json.loads(results.read_text())
    assert written["finished"]
    assert set(written["faults"]) == set(FAULTS)
    assert written["levels"]["resident_bytes"]["largest"] > 32 * MIB
