import pytest

from bench.quality.windows import BALANCED, Ours, default_profile, profiles
from cbad_cy.codec import CODECS
from tests.engine.streams import bursty, take

LINES = take(bursty(3), 3000)


def test_there_is_a_row_for_every_codec() -> None:
    assert list(profiles()) == list(CODECS)
    assert all(profile.codec == codec for codec, profile in profiles().items())


@pytest.mark.parametrize("at", [700, 1234, 2001])
def test_a_branch_continues_as_the_run_does_and_leaves_it_alone(at: int) -> None:
    run = Ours(default_profile())
    run.feed(LINES[:at])
    branches = run.branches()
    strange = [b"foreign %s" % (b"x" * number) for number in range(80)]
    assert branches().feed(strange) == branches().feed(strange)
    assert branches().feed(LINES[at:]) == run.feed(LINES[at:])


def test_windows_end_where_the_profile_says_and_batches_do_not_matter() -> None:
    whole, parts = Ours(default_profile()), Ours(default_profile())
    judged = whole.feed(LINES)
    assert [window.end for window in judged] == list(
        range(BALANCED.baseline_size + BALANCED.window_size, 3001, BALANCED.hop_size)
    )
    assert [window for start in range(0, 3000, 37) for window in parts.feed(LINES[start : start + 37])] == judged


def test_event_bits_are_one_for_each_event() -> None:
    assert len(Ours(default_profile()).event_bits(LINES)) == len(LINES)
