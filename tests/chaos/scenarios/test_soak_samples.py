"""The soak's judgement: what is flat passes, and each level that grows is named."""

from dataclasses import replace

import pytest

from tests.chaos.scenarios.soak_samples import MIB, GrowthLimits, Sample, judge, levels, life_growth_bytes, longest_life, table

FLAT = Sample(0.0, 1, 200 * MIB, 60, 20, 8, 90 * MIB, MIB, 300 * MIB, 3, 2)


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
    found = judge(soak(**{level: slope}), GrowthLimits(life_resident_bytes_growth_max=10**12))
    assert len(found) == 1
    assert found[0].startswith(f"{level} grew from ")
    assert judge(soak(**{level: slope / 20}), GrowthLimits()) == []


def test_a_leak_of_one_long_life_is_seen_between_restarts() -> None:
    """Ten restarts hide a leak from thirds; the longest life shows it."""
    leaking = [
        replace(sample, life=1 + index // 20, resident_bytes=FLAT.resident_bytes + index % 20 * 12 * MIB)
        for index, sample in enumerate(soak())
    ]
    found = judge(leaking, GrowthLimits())
    assert len(found) == 1
    assert found[0].startswith("one process grew by ")


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
