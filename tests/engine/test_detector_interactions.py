"""Interactions through the detector: findings of their own, the same at any batch size and across restarts."""

import random
from uuid import UUID

import pytest

from cbad_cy.codec import Codec
from driftlock.engine.detector import Detector
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.folding import Folder
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.state import pack, restore_stream, stream_state, unpack
from driftlock.engine.verdict import Finding, Question
from driftlock.v1 import state_pb2
from tests.engine.streams import FAR_NS, batches

KEY = StreamKey(Signal.LOGS, "shop")
PROFILE = custom(PROFILES["balanced"], {"group_by": "text:req-", "permutations_max": 19})
SESSIONS, BAD = 1500, range(1400, 1410)


def sessions() -> list[bytes]:
    """Interleaved requests of four lines each; a few of them lose their way."""
    rng = random.Random(5)
    due: list[tuple[float, bytes]] = []
    for number in range(SESSIONS):
        steps = ["opened by client", "checked cart", "charged card", "closed"]
        if number in BAD:
            steps = ["opened by client", "checked cart", "rolled back", "rolled back"]
        for place, step in enumerate(steps):
            due.append((number + 20 * place + rng.random(), b"req-%d %s" % (number, step.encode())))
    return [line for _, line in sorted(due)]


LINES = sessions()


def fold(size: int, cut: int | None = None) -> list[Finding]:
    detector, codec = Detector(KEY, PROFILE, 7, Limits()), Codec(PROFILE.codec)
    found = []
    for number, part in enumerate(batches(LINES, size)):
        if number == cut:
            detector = restore_stream(stream_state(detector, codec), KEY, 7, Limits(), lambda _: codec)
        found += detector.fold(part, FAR_NS, codec)
    return found


def interactions(found: list[Finding]) -> list[bytes]:
    """All findings: those of interactions stand where they were made among those of windows."""
    assert any(finding.question is Question.INTERACTION for finding in found)
    return [finding.canonical() for finding in found]


def test_an_interaction_that_went_unlike_the_others_is_a_finding() -> None:
    found = [finding for finding in fold(1000) if finding.question is Question.INTERACTION]
    named = {finding.subject for finding in found}
    assert {f"req-{number}" for number in BAD} & named
    assert len(named - {f"req-{number}" for number in BAD}) <= SESSIONS * PROFILE.p_value_threshold
    worst = max(found, key=lambda finding: finding.surprise)
    assert worst.subject in {f"req-{number}" for number in BAD}
    assert worst.interaction >= 0
    assert worst.first_event < worst.last_event
    assert worst.p_value <= PROFILE.p_value_threshold
    assert any("rolled back" in line.text for line in worst.lines) or any("charged" in it.text for it in worst.missing)
    assert worst.subject in worst.explanation
    assert Finding.from_json(worst.to_json()) == worst


@pytest.mark.parametrize("size", [1, 37, 6000])
def test_batch_size_does_not_change_interactions(size: int) -> None:
    assert interactions(fold(size)) == interactions(fold(1000)) != []


@pytest.mark.parametrize("cut", [1, 30, 57])
def test_a_restart_does_not_change_interactions(cut: int) -> None:
    assert interactions(fold(100, cut)) == interactions(fold(100))


def test_another_group_by_begins_anew_and_leaves_windows_alone() -> None:
    detector, codec = Detector(KEY, PROFILE, 7, Limits()), Codec(PROFILE.codec)
    detector.fold(next(iter(batches(LINES, 3000))), FAR_NS, codec)
    windows, before = detector.windows, detector.interactions
    detector.configure(custom(PROFILE, {"group_by": "trace_id"}))
    assert detector.windows == windows > 0
    assert detector.interactions is not before
    detector.configure(PROFILES["balanced"])
    assert detector.interactions is None


def test_an_interaction_stands_where_its_last_event_does() -> None:
    detector, codec = Detector(KEY, PROFILE, 7, Limits()), Codec(PROFILE.codec)
    for part in batches(LINES[:2000], 100):
        detector.fold(part, FAR_NS, codec)
    assert detector.windows_by(0) == 0
    assert detector.windows_by(449) == 1
    assert detector.windows_by(detector.events - 1) == detector.windows


def test_numbers_of_interactions_never_come_back() -> None:
    detector, codec = Detector(KEY, PROFILE, 7, Limits()), Codec(PROFILE.codec)
    for part in batches(LINES, 1000):
        detector.fold(part, FAR_NS, codec)
    assert detector.interactions_found > 0
    state = unpack(state_pb2.StreamState(), stream_state(detector, codec))
    state.codec_version = "another"
    again = restore_stream(pack(state), KEY, 7, Limits(), lambda _: codec)
    assert again.interactions_found == detector.interactions_found
    row = JournalRow(9, RowKind.RECORDS, 0, b"", UUID(int=1), UUID(int=2), KEY)
    lost = Folder(7, Limits(), lambda _: None).load(row, Checkpoint(8, b"damaged"), 0).fold
    assert isinstance(lost, Detector)
    assert lost.interactions_found > 8 * 100_000
