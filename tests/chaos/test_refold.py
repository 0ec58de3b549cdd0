"""An undisturbed fold of captured rows has findings, says the same again, and any other byte is a difference."""

from array import array
from dataclasses import replace
from uuid import UUID

from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.records import encode, encode_config
from tests.chaos.refold import Findings, refold
from tests.chaos.workload import PROFILE
from tests.e2e.harness import shop_log, stormy

KEY = StreamKey(Signal.LOGS, "chaos-0")
TENANT, STREAM = UUID(int=1), UUID(int=2)
SECOND_NS = 1_000_000_000


def rows(lines: list[str], records: int) -> list[JournalRow]:
    profile = encode_config(custom(PROFILES["balanced"], PROFILE))
    made = [JournalRow(1, RowKind.CONFIG, SECOND_NS, profile, TENANT, STREAM, KEY)]
    for start in range(0, len(lines), records):
        texts = [line.encode() for line in lines[start : start + records]]
        times = array("Q", [(start + place + 1) * SECOND_NS for place in range(len(texts))])
        batch = RecordBatch(b"".join(texts), array("I", map(len, texts)), times)
        made.append(JournalRow(len(made) + 1, RowKind.RECORDS, times[-1], encode(batch), TENANT, STREAM, KEY))
    return made


def test_an_undisturbed_fold_has_findings_and_repeats_itself() -> None:
    lines = stormy(shop_log(1_600, odd_at=9_999), 1_400, 1_460)
    found = refold(rows(lines, 50))
    assert found.findings
    assert found.incidents
    assert found.differences(refold(rows(lines, 50))) == []
    # How records were grouped says nothing about them.
    assert set(refold(rows(lines, 7)).findings) == set(found.findings)


def test_every_difference_is_told() -> None:
    name, body = "a", b'{"ncd": 0.5}'
    found = Findings({name: body})
    assert found.differences(Findings({name: body})) == []
    assert found.differences(Findings({name: body + b" "})) == ["finding a differs"]
    assert found.differences(Findings()) == ["finding a is extra"]
    assert Findings().differences(found) == ["finding a is missing"]
    assert replace(found, findings={}).differences(Findings()) == []
