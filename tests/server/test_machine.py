"""Defaults that depend on the machine."""

from pathlib import Path

from driftlock.engine.residents import STREAM_BYTES
from server.machine import STREAMS_LEAST, STREAMS_MOST, memory_bytes, resident_streams


def test_the_limit_of_a_control_group_counts(tmp_path: Path) -> None:
    whole = memory_bytes(tmp_path / "none")
    for text, expected in (("max\n", whole), ("1048576\n", 1 << 20), (f"{1 << 60}\n", whole)):
        (tmp_path / "memory.max").write_text(text)
        assert memory_bytes(tmp_path / "memory.max") == expected
    assert whole > 1 << 26


def test_streams_take_a_quarter_of_the_memory() -> None:
    assert resident_streams(4 * 1000 * STREAM_BYTES) == 1000
    assert (resident_streams(0), resident_streams(1 << 50)) == (STREAMS_LEAST, STREAMS_MOST)
