"""Protocol 5 on streams of our own."""

from dataclasses import replace

from bench.quality.changes import CHANGES, Site
from bench.quality.explanation import Outcome, ablate, named_lines
from bench.quality.streams import masked
from bench.quality.windows import Ours, default_profile
from driftlock.engine.verdict import Finding, NovelLine
from tests.api.fakes import make_finding
from tests.engine.streams import iid, take

LINES = take(iid(5), 7000)
ALIENS = [f"foreign kind {chr(97 + number) * 4} spoke of {chr(97 + number) * 3}".encode() for number in range(20)]


def found(first: int, window: list[bytes], *named: tuple[int, int, float]) -> Finding:
    """A finding that names (place, count, bits)."""
    lines = tuple(NovelLine(first + at, 0, window[at].decode(), (), 1, count=count, bits=bits) for at, count, bits in named)
    return replace(make_finding(), first_event=first, window_lines=tuple(map(bytes.decode, window)), lines=lines)


def test_a_form_that_is_counted_whole_is_named_wherever_it_stands() -> None:
    stretch = [b"alien 1", b"usual", b"alien 2", b"status 200", b"status 500"] + [b"usual"] * 15
    finding = found(100, stretch[:5], (0, 2, 90.0), (4, 1, 40.0))
    assert named_lines([finding], stretch, 100) == [0, 2, 4]
    assert named_lines([finding, finding], [*stretch[:5], b"alien 3", *stretch[5:]], 100) == [0, 2, 5, 4]


def test_at_most_a_fifth_is_taken_away_and_nothing_outside() -> None:
    stretch = [b"alien 1"] * 6 + [b"usual"] * 4
    assert named_lines([found(100, stretch, (0, 6, 90.0))], stretch, 100) == [0, 1]
    before = found(95, [b"status 500", *stretch], (0, 1, 90.0), (6, 6, 10.0))
    assert named_lines([before], stretch, 100) == [0, 1]


def test_foreign_lines_are_named_and_without_them_the_stream_is_normal() -> None:
    site = Site(LINES, masked(LINES), ALIENS, 6000, 7)
    run = Ours(default_profile())
    run.feed(LINES[:6000])
    lines = CHANGES["k different foreign lines"](site, 5)
    assert lines is not None
    out = Outcome()
    ablate(run.branches(), site, lines, out)
    assert (out.named_restored, out.random_restored, out.verified) == ([True], [False], [True])
    assert out.right == out.changed == 5
    calm = Outcome()
    ablate(run.branches(), site, list(LINES[6000:6050]), calm)
    assert calm == Outcome()
