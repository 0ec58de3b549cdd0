"""What a soak samples, and the judgement of it: first third against last third, and lines through a long life."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import asyncpg

MIB = 1024 * 1024
LEVELS = """
select (select count(*) from pg_stat_activity where backend_type = 'client backend' and datname = current_database()
           and pid <> pg_backend_pid()) as connections,
       (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
         where c.relnamespace = 'driftlock'::regnamespace and c.relkind = 'r' and not c.relname = any ($1)) as table_bytes,
       (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
         where c.relnamespace = 'driftlock'::regnamespace and c.relkind = 'r' and c.relname = any ($1)) as result_bytes,
       (select coalesce(sum(size), 0)::bigint from pg_ls_waldir()) as wal_bytes,
       (select s.next_seq - 1 - p.applied_seq from driftlock.journal_shard s join driftlock.journal_position p using (shard)
         where s.shard = 0) as lag_rows,
       (select count(*) from driftlock.anomalies) as findings,
       (select s.truncated_seq from driftlock.journal_shard s where s.shard = 0) as truncated_seq
"""
RESULTS = ("anomalies", "anomaly_traces", "incidents", "stream_events", "meter", "ledger")
"""Tables that grow with what was found and with the hours, not with what was sent."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of a soak: seconds since its start, then what the server takes, then what the database holds.

    `life` counts starts of the server. `table_bytes` are those of tables that must stay as large as they are,
    `result_bytes` those of tables of results.
    """

    at_s: float
    life: int
    resident_bytes: int
    descriptors: int
    threads: int
    connections: int
    table_bytes: int
    result_bytes: int
    wal_bytes: int
    lag_rows: int
    findings: int
    truncated_seq: int = 0  # the last position that has left the journal: from the first one on it is as full as it gets


LEVEL_NAMES = tuple(field.name for field in fields(Sample) if field.name not in ("at_s", "life", "findings", "truncated_seq"))
LONG_RUN_S, WARM_UP_S, JUDGED_S_MIN = 15 * 60.0, 120.0, 150.0
"""From how long a soak on slopes are judged, what of a life is left out as its warm-up, and how much has to be left of it."""


@dataclass(frozen=True, slots=True)
class GrowthLimits:
    """How much the mean of the last third may be above that of the first; of one long life, its last quarter above its second.

    Of a soak of at least `LONG_RUN_S` the lines through the longest life after its warm-up are judged as well (by slope, or by
    what the line grows from its begin to its end), and the one through the tables since the journal was full once.
    `wal_bytes_max` and `result_bytes_per_finding_max` bound the largest value: the write-ahead log fills up to its setting.
    """

    resident_bytes_growth_max: int = 64 * MIB
    life_resident_bytes_growth_max: int = 64 * MIB
    descriptors_growth_max: int = 16
    threads_growth_max: int = 4
    connections_growth_max: int = 6
    table_bytes_growth_max: int = 64 * MIB
    lag_rows_growth_max: int = 5_000
    wal_bytes_max: int = 1024 * MIB
    result_bytes_per_finding_max: int = 128 * 1024
    result_bytes_idle: int = 2 * MIB
    life_resident_bytes_per_hour_max: int = 48 * MIB
    life_descriptors_growth_max: int = 6
    life_threads_growth_max: int = 3
    table_bytes_per_hour_max: int = 64 * MIB


@dataclass(frozen=True, slots=True)
class Level:
    """One row of the table: means of the first and the last third, growth an hour by least squares, the largest value."""

    name: str
    first: float
    last: float
    slope_per_hour: float
    largest: float

    @property
    def growth(self) -> float:
        """By how much the last third is above the first."""
        return self.last - self.first


async def database_levels(dsn: str) -> dict[str, int]:
    """Connections, sizes and lag, as the owner of the database sees them. Raises what asyncpg raises while it is away."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        row = await connection.fetchrow(LEVELS, list(RESULTS), timeout=10)
    finally:
        await connection.close(timeout=5)
    assert row is not None
    return dict(row)


def levels(samples: Sequence[Sample]) -> list[Level]:
    """A row for each level; at least three samples."""
    third = len(samples) // 3
    rows = []
    for name in LEVEL_NAMES:
        values = [float(getattr(sample, name)) for sample in samples]
        slope = _line(samples, name) * 3600
        rows.append(Level(name, _mean(values[:third]), _mean(values[-third:]), slope, max(values)))
    return rows


def longest_life(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of the server process that lived longest."""
    lives: dict[int, list[Sample]] = {}
    for sample in samples:
        lives.setdefault(sample.life, []).append(sample)
    return max(lives.values(), key=len, default=[])


def life_growth_bytes(samples: Sequence[Sample]) -> float:
    """Resident memory of one life: its last quarter above its second one, so that warming up does not count."""
    quarter = len(samples) // 4
    if not quarter:
        return 0.0
    values = [float(sample.resident_bytes) for sample in samples]
    return _mean(values[-quarter:]) - _mean(values[quarter : 2 * quarter])


def judge(samples: Sequence[Sample], limits: GrowthLimits) -> list[str]:
    """What grew by more than its limit; too few samples to judge are a violation, too."""
    if len(samples) < 3:
        return [f"only {len(samples)} samples were taken: nothing can be said about growth"]
    found = []
    for level in levels(samples):
        name = f"{level.name}_growth_max"
        if hasattr(limits, name) and level.growth > getattr(limits, name):
            found.append(
                f"{level.name} grew from {level.first:.0f} to {level.last:.0f}: more than {name} = {getattr(limits, name)}"
            )
        if level.name == "wal_bytes" and level.largest > limits.wal_bytes_max:
            found.append(f"the write-ahead log reached {level.largest:.0f} bytes: more than {limits.wal_bytes_max}")
    grown = life_growth_bytes(longest_life(samples))
    if grown > limits.life_resident_bytes_growth_max:
        found.append(f"one process grew by {grown:.0f} bytes: more than {limits.life_resident_bytes_growth_max}")
    found += _slopes(samples, limits)
    last = samples[-1]
    room = limits.result_bytes_idle + limits.result_bytes_per_finding_max * last.findings
    if last.result_bytes > room:
        found.append(f"{last.findings} findings take {last.result_bytes} bytes: more than {room}")
    return found


def _slopes(samples: Sequence[Sample], limits: GrowthLimits) -> list[str]:
    """What a long soak shows beyond its thirds."""
    if samples[-1].at_s - samples[0].at_s < LONG_RUN_S:
        return []
    life = longest_life(samples)
    life = [sample for sample in life if sample.at_s >= life[0].at_s + WARM_UP_S]
    if _span_s(life) < JUDGED_S_MIN:
        return [f"no process lived for {WARM_UP_S + JUDGED_S_MIN:.0f} s: nothing can be said about leaks"]
    found = []
    slope = _line(life, "resident_bytes") * 3600
    if slope > limits.life_resident_bytes_per_hour_max:
        most = f"life_resident_bytes_per_hour_max = {limits.life_resident_bytes_per_hour_max}"
        found.append(f"one process grows by {slope:.0f} bytes an hour: more than {most}")
    for name in ("descriptors", "threads"):
        grown, most_grown = _line(life, name) * _span_s(life), getattr(limits, f"life_{name}_growth_max")
        if grown > most_grown:
            found.append(f"{name} of one process grew by {grown:.1f}: more than life_{name}_growth_max = {most_grown}")
    full = [sample for sample in samples if sample.truncated_seq]
    if _span_s(full) < JUDGED_S_MIN:
        return [*found, f"the journal was not full for {JUDGED_S_MIN:.0f} s: nothing can be said about tables"]
    slope = _line(full, "table_bytes") * 3600
    if slope > limits.table_bytes_per_hour_max:
        most = f"table_bytes_per_hour_max = {limits.table_bytes_per_hour_max}"
        found.append(f"tables grow by {slope:.0f} bytes an hour although the journal was full: more than {most}")
    return found


def _span_s(samples: Sequence[Sample]) -> float:
    return samples[-1].at_s - samples[0].at_s if samples else 0.0


def _line(samples: Sequence[Sample], name: str) -> float:
    """Growth a second, by least squares."""
    return _slope([sample.at_s for sample in samples], [float(getattr(sample, name)) for sample in samples])


def to_json(samples: Sequence[Sample]) -> dict[str, object]:
    """All samples, for whoever judges them again."""
    return {"names": [field.name for field in fields(Sample)], "rows": [astuple(sample) for sample in samples]}


def from_json(results: Mapping[str, Any]) -> list[Sample]:
    """The samples of a file of results. Raises ValueError where there are none."""
    if "samples" not in results:
        raise ValueError("these results hold no samples: only those of the present version do")
    written = results["samples"]
    return [Sample(**dict(zip(written["names"], row, strict=True))) for row in written["rows"]]


def table(samples: Sequence[Sample]) -> str:
    """The rows, for people."""
    lines = [f"{'':<16}{'first third':>14}{'last third':>14}{'slope/h':>14}{'largest':>14}"]
    for level in levels(samples):
        scale, unit = (MIB, " MiB") if level.name.endswith("_bytes") else (1, "")
        name = level.name.removesuffix("_bytes") + unit
        values = (level.first, level.last, level.slope_per_hour, level.largest)
        lines.append(f"{name:<16}" + "".join(f"{value / scale:>14.1f}" for value in values))
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Least squares, a second."""
    middle, level = _mean(at), _mean(values)
    spread = math.fsum((moment - middle) ** 2 for moment in at)
    return (
        math.fsum((moment - middle) * (value - level) for moment, value in zip(at, values, strict=True)) / spread
        if spread
        else 0.0
    )
