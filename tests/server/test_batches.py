"""Offline text is the text that the doors of a server make of the same lines and events, byte for byte."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events import decode as decode_rest
from collector.otlp.decode import decode as decode_otlp
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import CanonicalLimits, Cuts
from driftlock.engine.event import RecordBatch, Signal
from server.logfile.reader import LogFile
from server.offline.batches import line_batch, record_batch, stream_of
from server.offline.events import EventReader
from server.replay.sender import batches

TIMES = st.one_of(st.integers(631_152_000, 4_000_000_000), st.floats(631_152_000, 4_000_000_000))


def objects(*, finite: bool) -> st.SearchStrategy[dict[str, Any]]:
    floats = st.floats(allow_nan=not finite, allow_infinity=not finite)
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), floats, st.text(max_size=8), st.just("\ud83d"))
    values = st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
        max_leaves=6,
    )
    some = {"time": TIMES, "text": st.text(max_size=20), "level": values, "b.c": values, "": values, "\ud800": values}
    return st.fixed_dictionaries({}, optional=some)


def over_otlp(file: LogFile, service: str) -> tuple[list[bytes], list[int], str]:
    """What a server makes of a replayed file: texts, times and the stream."""
    texts: list[bytes] = []
    times: list[int] = []
    key = ""
    lines = (line for portion in file.portions() for line in portion)
    for batch in batches(lines, {"service.name": service, "driftlock.historical": True}, records_max=7, observed_ns=1):
        decoded = decode_otlp(batch.data, Signal.LOGS, OtlpLimits(), ResourceRouter(), NoRedaction())
        [part] = decoded.batches
        assert part.batch.historical
        texts += part.batch.lines()
        times += part.batch.times_ns
        key = part.key.text
    return texts, times, key


def offline(file: LogFile) -> RecordBatch:
    lines = [line for portion in file.portions() for line in portion]
    return line_batch(lines, CanonicalLimits(), Cuts())


def same(path: Path, service: str = "shop") -> None:
    texts, times, key = over_otlp(LogFile(str(path), 10**18), service)
    batch = offline(LogFile(str(path), 10**18))
    assert list(batch.lines()) == texts
    assert batch.times_ns.tolist() == times
    assert batch.historical
    assert stream_of(service).text == key


@given(st.lists(objects(finite=False), min_size=1, max_size=12))
def test_json_lines_have_the_text_of_a_replay(tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("batches") / "x.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in objects))
    same(path)


@pytest.mark.parametrize("service", ["shop", " shop\u202e ", "\u0000", "é" * 300, "\udce9t\udce9"], ids=range(5))
def test_plain_lines_have_the_text_and_the_stream_of_a_replay(tmp_path: Path, service: str) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"2024-05-01 10:00:00 caf\xe9 \x1b[31m\n" + b"x" * 70_000 + b"\n\n  tail\r\n")
    same(path, service)


def test_many_attributes_and_long_values_are_cut_alike(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    wide = {f"k{number}": {"a": number, "b": []} for number in range(200)}
    path.write_text(json.dumps({"text": "t", **wide}) + "\n" + json.dumps({"text": "t", "k" * 300: "v" * 50_000}) + "\n")
    same(path)


@given(st.lists(st.one_of(st.text(max_size=12), objects(finite=True)), min_size=1, max_size=12))
def test_events_have_the_text_of_rest(events: list[Any]) -> None:
    reader = EventReader(CanonicalLimits())
    read = [reader.event(json.dumps(event).encode()) for event in events]
    expected = decode_rest(json.loads(json.dumps(events)), historical=True, limits=CanonicalLimits()).batch
    batch = record_batch((event.text for event in read), (event.time_ns for event in read))
    assert (batch.text, batch.lengths, batch.times_ns) == (expected.text, expected.lengths, expected.times_ns)
