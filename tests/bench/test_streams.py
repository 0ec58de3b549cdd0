from collections import Counter
from itertools import islice, pairwise

from bench.quality.figures import Figure
from bench.quality.streams import drifting, masked, prolonged, synthetic


def test_a_drifting_stream_changes_all_its_kinds_slowly() -> None:
    lines = list(islice(drifting(1, kinds=10, drift_events=50), 5000))
    parts = [set(masked(lines[start : start + 500])) for start in range(0, 5000, 500)]
    assert not parts[0] & parts[-1]
    assert all(len(before & after) >= len(after) // 4 for before, after in pairwise(parts))


def test_a_prolonged_log_holds_its_lines_equally_often_and_keeps_its_pieces() -> None:
    lines = [b"line %s" % (b"x" * number) for number in range(40)]
    long = prolonged(lines, 120, seed=1, piece=10)
    assert Counter(long) == Counter(dict.fromkeys(lines, 3))
    assert long != lines * 3
    for start in range(0, 120, 10):
        first = lines.index(long[start])
        assert long[start : start + 10] == lines[first : first + 10]


def test_streams_are_the_same_every_time() -> None:
    assert synthetic(50, (0, 1)) == synthetic(50, (0, 1))
    assert all(first != second for first, second in synthetic(50, (0, 1)).values())


def test_a_figure_without_a_number_is_null_in_json() -> None:
    row = Figure("p", "c", "d", "x", "recall", float("nan"), None, float("inf")).row()
    assert (row["value"], row["low"], row["high"]) == (None, None, None)
