"""A verdict is a function of what its bundle holds and of nothing else, whichever checkpoint the bundle begins with."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
import zstandard

from driftlock.engine import evidence_replay
from driftlock.engine.era import Change, Era, versions
from driftlock.engine.evidence_bundle import BadBundle, Link, Material, content_of, pack, unpack
from driftlock.engine.evidence_replay import Differs, check_sizes, other_versions, reproduce
from driftlock.engine.ports import Checkpoint, FindingRow, RowKind
from driftlock.engine.verdict import Question
from tests.engine.bundles import KeepingJournal, lines_found, material_of, numbers_found, silence_found, traces_found

Found = dict[str, tuple[KeepingJournal, FindingRow]]
KINDS = pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("lines", Question.NOVELTY),
        ("numbers", Question.VALUE),
        ("traces", Question.LATENCY),
        ("silence", Question.SILENCE),
    ],
)


@pytest.fixture(scope="module")
def found() -> Found:
    """What was found in streams of each kind: nothing of it is changed by a test."""

    async def run() -> Found:
        return {
            "lines": await lines_found(),
            "zstd": await lines_found("zstd"),
            "numbers": await numbers_found(),
            "traces": await traces_found(),
            "silence": await silence_found(),
        }

    return asyncio.run(run())


@KINDS
async def test_a_finding_follows_from_any_checkpoint_before_it(found: Found, kind: str, question: Question) -> None:
    journal, row = found[kind]
    assert row.finding.question is question
    for back in (1, 9, 0):
        material = await material_of(journal, row, back=back)
        if kind == "lines" and back != 1:
            assert {it.kind for it in material.rows} >= {RowKind.LESSON, RowKind.ANCHOR, RowKind.REDACTION}
        assert (material.base is None) == (back == 0)
        read = unpack(pack(content_of(material, Link(1, b"", 5)), bytes(32), bytes(64))).material
        assert reproduce(read).finding == row.finding.to_json()
        assert other_versions(read) == ()


@KINDS
async def test_without_a_row_it_does_not_follow(found: Found, kind: str, question: Question) -> None:
    journal, row = found[kind]
    material = await material_of(journal, row, back=0)
    assert row.finding.question is question
    without = material.rows[: len(material.rows) // 2] + material.rows[len(material.rows) // 2 + 1 :]
    with pytest.raises(Differs):
        reproduce(replace(material, rows=without))


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"finding_id": UUID(int=1)}, {"finding": b"{}"}], ids=["seed", "id", "finding"]
)
async def test_another_seed_id_or_finding_is_noticed(found: Found, change: dict[str, object]) -> None:
    material = await material_of(*found["lines"])
    reproduce(material)
    with pytest.raises(Differs):
        reproduce(replace(material, **change))  # type: ignore[arg-type]


async def test_a_series_that_is_left_out_is_noticed(found: Found) -> None:
    material = await material_of(*found["numbers"])
    assert len(material.series) >= 3
    with pytest.raises(Differs):
        reproduce(replace(material, series={}))


async def test_an_era_between_the_rows_is_part_of_the_verdict(found: Found) -> None:
    material = await material_of(*found["lines"], back=3)
    assert material.base is not None
    era = Era(material.base.seq, (Change("algorithm", "0", "1"),))
    with pytest.raises(Differs):
        reproduce(replace(material, eras=(era,)))


async def test_what_judges_a_stream_is_compared_and_nothing_else(found: Found) -> None:
    lines = await material_of(*found["zstd"])
    old = versions() | {"zstd": "1.0.0", "lz4": "1.0.0"}
    assert other_versions(replace(lines, versions=old)) == (Change("zstd", "1.0.0", versions()["zstd"]),)
    assert other_versions(replace(await material_of(*found["lines"]), versions=old)) == ()
    silence = await material_of(*found["silence"])
    assert other_versions(replace(silence, versions=old)) == ()
    assert [it.name for it in other_versions(replace(silence, versions={}))] == ["algorithm", "numeric"]


def _with_state(material: Material, state: bytes) -> Material:
    assert material.base is not None
    return replace(material, base=Checkpoint(material.base.seq, state))


async def test_a_state_that_can_not_be_read_is_said_to_be_so(found: Found) -> None:
    material = await material_of(*found["lines"])
    for state in (b"", b"no state", zstandard.compress(b"no state")):
        with pytest.raises(BadBundle):
            reproduce(_with_state(material, state))


async def test_what_unpacks_to_too_much_is_refused_before_it_is_unpacked(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    material = await material_of(*found["silence"])
    bomb = zstandard.compress(bytes(evidence_replay.RAW_BYTES_MAX + 1))
    assert len(bomb) < 100_000
    for hostile in (_with_state(material, bomb), replace(material, series={1: bomb})):
        with pytest.raises(BadBundle, match="RAW_BYTES_MAX"):
            check_sizes(hostile)
        with pytest.raises(BadBundle, match="RAW_BYTES_MAX"):
            reproduce(hostile)
    monkeypatch.setattr(evidence_replay, "RAW_BYTES_MAX", 10)
    with pytest.raises(BadBundle, match="RAW_BYTES_MAX"):
        check_sizes(material)
