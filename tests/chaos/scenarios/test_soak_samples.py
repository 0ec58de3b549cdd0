"""The soak's judgement: what is flat passes, and each level that grows is named."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.scenarios.soak_samples import (
    MIB,
    GrowthLimits,
    Sample,
    from_json,
    judge,
    levels,
    life_growth_bytes,
    longest_life,
    table,
    to_json,
)
from tests.e2e.harness import ROOT

FLAT = Sample(0.0, 1, 200 * MIB, 60, 20, 8, 90 * MIB, MIB, 300 * MIB, 3, 2, truncated_seq=1)


THIRDS_ONLY = GrowthLimits(
    life_resident_bytes_growth_max=10**12,
    life_resident_bytes_per_hour_max=10**12,
    life_descriptors_growth_max=10**6,
    life_threads_growth_max=10**6,
    table_bytes_per_hour_max=10**12,
)


def soak(**slopes: float) -> list[Sample]:
    """An hour of samples, one a minute, with these levels growing by so much each minute."""
    return [
        replace(
            FLAT, at_s=60.0 * minute, **{name: round(getattr(FLAT, name) + slope * minute) for name, slope in slopes.items()}
        )
        for minute in range(60)
    ]


def test_flat_levels_pass() -> None:
    assert judge(soak(), GrowthLimits()) == []


@pytest.mark.parametrize(
    ("level", "slope"),
    [
        ("resident_bytes", 2.0 * MIB),
        ("descriptors", 1.0),
        ("threads", 0.2),
        ("connections", 0.3),
        ("table_bytes", 2.0 * MIB),
        ("lag_rows", 200.0),
    ],
)
def test_growth_is_named(level: str, slope: float) -> None:
    found = judge(soak(**{level: slope}), THIRDS_ONLY)
    assert len(found) == 1
    assert found[0].startswith(f"{level} grew from ")
    assert judge(soak(**{level: slope / 20}), GrowthLimits()) == []


def test_a_leak_of_one_long_life_is_seen_between_restarts() -> None:
    """Ten restarts hide a leak from thirds; the longest life shows it."""
    leaking = [
        replace(sample, life=1 + index // 20, resident_bytes=FLAT.resident_bytes + index % 20 * 12 * MIB)
        for index, sample in enumerate(soak())
    ]
    grew, slope = judge(leaking, GrowthLimits())
    assert grew.startswith("one process grew by ")
    assert slope.startswith("one process grows by ")


SLOPES = {"resident_bytes": 0.9 * MIB, "descriptors": 0.12, "threads": 0.06, "table_bytes": 1.2 * MIB}
"""A minute; over an hour each stays below what the thirds may differ by."""


@pytest.mark.parametrize("level", SLOPES)
def test_a_slow_leak_is_seen_by_its_slope(level: str) -> None:
    (found,) = judge(soak(**{level: SLOPES[level]}), GrowthLimits())
    assert "_max = " in found
    assert judge(soak(**{level: SLOPES[level] / 2}), GrowthLimits()) == []
    assert judge(soak(**{level: SLOPES[level]})[:15], GrowthLimits()) == []  # too short to say so


def test_warming_up_is_no_leak_and_a_journal_that_fills_is_none() -> None:
    samples = [
        replace(
            sample,
            resident_bytes=sample.resident_bytes - (50 * MIB if index < 2 else 0),
            table_bytes=sample.table_bytes + min(index, 20) * MIB,
            truncated_seq=int(index >= 20),
        )
        for index, sample in enumerate(soak())
    ]
    assert judge(samples, GrowthLimits()) == []


def test_what_a_long_soak_can_not_say_is_a_violation() -> None:
    restless = [replace(sample, life=index) for index, sample in enumerate(soak())]
    assert [found.split(":")[0] for found in judge(restless, GrowthLimits())] == ["no process lived for 270 s"]
    filling = [replace(sample, truncated_seq=0) for sample in soak()]
    assert [found.split(":")[0] for found in judge(filling, GrowthLimits())] == ["the journal was not full for 150 s"]


def test_samples_are_judged_again_from_a_file(tmp_path: Path) -> None:
    results = tmp_path / "soak.json"
    for samples, code, said in ((soak(), 0, "resident"), (soak(descriptors=1.0), 1, "VIOLATED: descriptors ")):
        results.write_text(json.dumps({"samples": to_json(samples)}))
        assert from_json(json.loads(results.read_text())) == samples
        judged = _run(results)
        assert judged.returncode == code
        assert said in judged.stdout
    results.write_text("{}")
    judged = _run(results)
    assert (judged.returncode, judged.stdout) == (2, "")
    assert "no samples" in judged.stderr


def _run(results: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.chaos.scenarios", "--judge", str(results)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_log_and_the_results_have_bounds() -> None:
    (log,) = judge(soak(wal_bytes=20.0 * MIB), GrowthLimits())
    assert "write-ahead log" in log
    (results,) = judge(soak(result_bytes=MIB), GrowthLimits())
    assert results.startswith("2 findings take ")


def test_too_few_samples_are_no_success() -> None:
    assert judge(soak()[:2], GrowthLimits()) == ["only 2 samples were taken: nothing can be said about growth"]


def test_thirds_and_slope() -> None:
    rows = {level.name: level for level in levels(soak(descriptors=1.0))}
    assert (rows["descriptors"].first, rows["descriptors"].last) == (69.5, 109.5)
    assert rows["descriptors"].slope_per_hour == pytest.approx(60.0)
    assert rows["descriptors"].largest == 119
    assert rows["threads"].growth == 0
    assert "descriptors" in table(soak())


def test_longest_life() -> None:
    samples = [replace(FLAT, at_s=float(index), life=life) for index, life in enumerate([1, 1, 2, 2, 2, 3])]
    assert [sample.at_s for sample in longest_life(samples)] == [2.0, 3.0, 4.0]
    assert life_growth_bytes(samples[:3]) == 0.0
