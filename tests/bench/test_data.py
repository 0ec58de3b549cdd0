from pathlib import Path

import pytest

from bench.data import HOMES, loaders

PAGE = Path(__file__).parent.parent.parent / "docs" / "benchmarks.md"


def test_a_clone_without_data_is_told_what_to_get_and_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIFTLOCK_BENCH_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        loaders()
    said = str(stopped.value)
    assert said.startswith(f"no benchmark data in {tmp_path}\n")
    assert all(f"{name}: {home}\n" in said for name, home in HOMES.items())
    assert all(word in said for word in ("DRIFTLOCK_BENCH_DATA", "loaders.py", "docs/benchmarks.md"))


@pytest.mark.parametrize("home", HOMES.values())
def test_the_homes_of_all_sets_are_documented(home: str) -> None:
    assert f"| {home} " in PAGE.read_text()


def test_the_functions_that_benchmarks_call_are_documented() -> None:
    named = PAGE.read_text().partition("\n## Data\n")[2].partition("\n## ")[0]
    functions = ("nab", "microsoft_cloud", "nezha_metrics", "nezha_logs", "nezha_faults", "hdfs_lines", "loghub")
    assert all(f"| `{function}(" in named for function in functions)
    assert all(f"`{name}`" in named for name in ("CACHE", "HERE", "TELEMETRY_CACHE"))
