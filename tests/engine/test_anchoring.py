"""Anchors in the fold: control records take hold at their place, hours are told, and a restart changes no byte."""

from dataclasses import replace
from uuid import UUID

import pytest

from cbad_cy.codec import Codec
from driftlock.engine.anchor import (
    AnchorCause,
    AnchorChange,
    AnchorEnd,
    AnchorSettings,
    AnchorSource,
    AnchorStanding,
    Freeze,
    anchor_id_of,
)
from driftlock.engine.anchored import accepted_lines, drift
from driftlock.engine.detector import Detector
from driftlock.engine.drift import DRIFT_HOURS, HOUR_NS
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.folding import Folder
from driftlock.engine.kinds import identity
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.engine.profile import custom
from driftlock.engine.records import Damaged, decode, decode_anchor, encode, encode_anchor
from driftlock.engine.verdict import Finding, Question, StreamEventKind
from tests.engine.anchors import (
    FIRST_HOUR_NS,
    FREEZE,
    PROFILE,
    STREAM,
    Heard,
    control,
    flights,
    folded,
    hour,
    mixed,
    profile,
    records,
    story,
)
from tests.engine.streams import batch, iid, take

DROP = AnchorChange(drop=True)


def drifts(heard: Heard) -> list[Finding]:
    return [finding for finding in heard.findings if finding.question is Question.DRIFT]


def given(lines: list[bytes], **changes: object) -> AnchorChange:
    held = batch(lines)
    return AnchorChange(freeze=Freeze(held.text, held.lengths, **changes))  # type: ignore[arg-type]


def shown(heard: Heard) -> list[tuple[int, AnchorStanding]]:
    return [(note.seq, note.standing) for note in heard.notes]


@pytest.fixture(scope="module")
def whole() -> Heard:
    return folded(story())[0]


def test_a_drift_begins_and_ends_once(whole: Heard) -> None:
    [finding] = drifts(whole)
    flags = [hour.drifting for hour in whole.hours]
    began, ended = flags.index(True), len(flags) - flags[::-1].index(True)
    assert flags == [False] * began + [True] * (ended - began) + [False] * (len(flags) - ended)
    assert 8 <= began <= 11  # the ninth hour is the first odd one
    assert finding.ncd == whole.hours[began].recent
    assert finding.end_ns == whole.hours[began].since_ns == whole.hours[began].hour_ns + HOUR_NS
    assert finding.start_ns == whole.hours[began - DRIFT_HOURS + 1].hour_ns
    [event] = [event for event in whole.events if event.kind is StreamEventKind.DRIFT_ENDED]
    assert event.time_ns == whole.hours[ended].hour_ns + HOUR_NS
    assert "like it again" in event.reason


def test_its_finding_says_how_far_and_names_the_lines_that_are_furthest(whole: Heard) -> None:
    [finding] = drifts(whole)
    assert finding.explanation.startswith("`checkout` has drifted from its anchor of 2023-11-14 ")
    assert f"{finding.ncd:.2f} away from it (threshold 0.35)" in finding.explanation
    assert finding.lines
    assert all("flight" in line.text for line in finding.lines)
    assert all("flight" in line.text[start:stop] for line in finding.lines for start, stop in line.spans[:1])
    assert sum(line.share for line in finding.lines) <= 1.0
    costs = [line.cost_bytes for line in finding.lines]
    assert costs == sorted(costs, reverse=True)
    assert min(costs) > 0
    assert 0 < finding.p_value <= 1
    assert finding.ratio > finding.ratio_normal
    assert finding.subject == str(whole.notes[0].anchor_id)
    assert Finding.from_json(finding.to_json()) == finding
    assert identity(STREAM, finding) != identity(STREAM, replace(finding, end_ns=finding.end_ns + HOUR_NS))
    assert identity(UUID(int=9), finding) != identity(STREAM, finding)


def test_a_restart_at_every_row_changes_no_byte(whole: Heard) -> None:
    assert folded(story(), restart=True)[0] == whole
    uneven = story(size=17)  # windows that fill while a row ends
    straight = folded(uneven)
    again, resident, folder = folded(uneven, restart=True)
    assert isinstance(resident.fold, Detector)
    assert resident.fold.anchoring.gathering is not None
    assert resident.fold.anchoring.gathering.lines
    assert again == straight[0]
    assert folder.save(resident, 0).checkpoint.state == straight[2].save(straight[1], 0).checkpoint.state


def in_sevens(row: JournalRow) -> list[RecordBatch]:
    held, size = decode(row.body), 7
    parts, lines = [], list(held.lines())
    for at in range(0, len(lines), size):
        part = batch(lines[at : at + size])
        part.times_ns = held.times_ns[at : at + size]
        parts.append(part)
    return parts


def test_how_records_are_batched_changes_no_hour() -> None:
    rows: list[JournalRow] = []
    whole = folded(story(size=17))[0]
    for row in story(size=17):
        if row.kind is not RowKind.RECORDS:
            rows.append(replace(row, seq=len(rows) + 1))
            continue
        held = in_sevens(row)
        rows += [replace(row, seq=len(rows) + 1 + number, body=encode(part)) for number, part in enumerate(held)]
    split = folded(rows)[0]
    anchor = split.notes[0].anchor_id
    assert [replace(hour, anchor_id=anchor) for hour in whole.hours] == split.hours
    [one], [other] = drifts(whole), drifts(split)
    assert replace(one, subject=str(anchor)).canonical() == other.canonical()


def test_a_stream_without_an_anchor_tells_nothing_and_stores_nothing() -> None:
    heard, resident, folder = folded([records(1, hour(iid(3), 0, 20)), records(2, hour(flights(3), 1, 20))])
    assert (heard.notes, heard.hours) == ([], [])
    state = folder.save(resident, 0).checkpoint.state
    dropped, resident, folder = folded([records(1, hour(iid(3), 0, 20)), control(2, DROP), records(3, hour(flights(3), 1, 20))])
    assert dropped.notes == []
    assert folder.save(resident, 0).checkpoint.state == state


def test_an_anchor_changes_nothing_of_what_is_said_of_windows() -> None:
    easy = custom(PROFILE, {"p_value_threshold": 0.5, "ncd_threshold": 0.1})
    rows = [profile(1, easy), records(2, hour(iid(3), 0, 20, size=100)), *story()[2:]]
    with_anchor = folded(rows)[0]
    without = folded([row for row in rows if row.kind is not RowKind.ANCHOR])[0]
    found = [finding for finding in with_anchor.findings if finding.question is not Question.DRIFT]
    assert found == without.findings
    assert found


def test_the_baseline_is_frozen_as_it_is_at_its_place() -> None:
    rows = [profile(1, PROFILE), records(2, hour(iid(3), 0, 20)), control(3, FREEZE), records(4, hour(flights(3), 1, 20))]
    before, resident, _ = folded(rows[:2])
    assert isinstance(resident.fold, Detector)
    lines = accepted_lines(resident.fold)
    heard, resident, _ = folded(rows)
    [note] = heard.notes
    assert isinstance(resident.fold, Detector)
    assert resident.fold.anchoring.anchor is not None
    assert resident.fold.anchoring.anchor.lines == lines
    assert (note.anchor_id, note.seq, note.standing) == (anchor_id_of(STREAM, 3), 3, AnchorStanding.IN_FORCE)
    assert (note.source, note.cause, note.lines) == (AnchorSource.BASELINE, AnchorCause.REQUEST, 160)
    assert (note.event, note.frozen_ns) == (400, FIRST_HOUR_NS + 19 * 60 * 10**9 + 19)
    assert (note.codec, note.codec_version) == ("statistical", Codec("statistical").version)
    assert before.notes == []


def test_events_are_frozen_as_the_stream_masks_them() -> None:
    masks = custom(PROFILE, {"masks": ["order-{digits}{as:ORDER}"]})
    lines = [b"order-%d paid by user %d" % (number, number) for number in range(40)]
    heard, resident, _ = folded([profile(1, masks), control(2, given(lines))])
    [note] = heard.notes
    assert isinstance(resident.fold, Detector)
    assert resident.fold.anchoring.anchor is not None
    [form] = resident.fold.anchoring.anchor.forms
    assert b"<ORDER>" in form
    assert b"#" in form
    assert (note.source, note.lines, note.event, note.frozen_ns) == (AnchorSource.EVENTS, 40, 0, 0)


def test_too_few_lines_are_refused_and_what_was_there_stays() -> None:
    rows = story()[:3]
    few = control(4, given(take(iid(1), PROFILE.window_size - 1)))
    heard, resident, _ = folded([*rows, few])
    assert shown(heard) == [(3, AnchorStanding.IN_FORCE), (4, AnchorStanding.REFUSED)]
    assert "19 lines" in heard.notes[1].reason
    assert isinstance(resident.fold, Detector)
    assert resident.fold.anchoring.anchor is not None
    assert resident.fold.anchoring.anchor.seq == 3
    empty, _, _ = folded([control(1, FREEZE)])
    assert shown(empty) == [(1, AnchorStanding.REFUSED)]
    enough = folded([*rows, control(4, given(take(iid(1), PROFILE.window_size)))])[0]
    assert enough.notes[-1].standing is AnchorStanding.IN_FORCE


def test_another_anchor_ends_the_one_before_and_begins_anew() -> None:
    rows = story(hours=(8, 8, 0))
    last = len(rows)
    heard, _, _ = folded(
        [*rows, control(last + 1, FREEZE), *(records(last + 2 + n, hour(mixed(3, 0.5), 20 + n)) for n in range(8))]
    )
    first, second = (anchor_id_of(STREAM, seq) for seq in (3, last + 1))
    ended = heard.notes[-2]
    assert (ended.anchor_id, ended.standing, ended.ended_because, ended.ended_seq) == (
        first,
        AnchorStanding.ENDED,
        AnchorEnd.RESET,
        last + 1,
    )
    assert ended.ended_ns > ended.frozen_ns
    assert (heard.notes[-1].anchor_id, heard.notes[-1].standing) == (second, AnchorStanding.IN_FORCE)
    mine = [hour for hour in heard.hours if hour.anchor_id == second]
    assert mine
    assert mine[0].recent is None


def test_dropping_ends_it_and_nothing_more_is_told() -> None:
    rows = story(hours=(2, 0, 0))
    last = len(rows)
    heard, _, _ = folded([*rows, control(last + 1, DROP), *(records(last + 2 + n, hour(flights(1), 20 + n)) for n in range(8))])
    assert heard.notes[-1].ended_because is AnchorEnd.DROPPED
    assert len(heard.hours) == 1
    assert drifts(heard) == []


def test_other_masks_end_it_and_the_stream_says_so() -> None:
    rows = story(hours=(2, 0, 0))
    last = len(rows)
    heard, _, _ = folded(
        [
            *rows,
            profile(last + 1, custom(PROFILE, {"masks": ["order-{digits}{as:ORDER}"]})),
            records(last + 2, hour(iid(3), 9, 20)),
        ]
    )
    note = heard.notes[-1]
    assert (note.ended_because, note.ended_seq) == (AnchorEnd.MASKS, last + 1)
    assert StreamEventKind.ANCHOR_ENDED in [event.kind for event in heard.events]
    kept = folded([*rows, profile(last + 1, custom(PROFILE, {"window_size": 30})), records(last + 2, hour(iid(3), 9, 20))])
    assert len(kept[0].hours) == len(heard.hours) + 1
    assert kept[0].notes[-1].standing is AnchorStanding.IN_FORCE


@pytest.mark.parametrize(("threshold", "found"), [(0.9, 0), (0.05, 1)])
def test_the_threshold_is_that_of_the_newest_control_record(threshold: float, found: int) -> None:
    share = 0.1 if found else 0.5
    rows = story(share=share, hours=(8, 8, 0), drift_ncd_threshold=threshold)
    heard = folded(rows)[0]
    assert len(drifts(heard)) == found
    assert all(finding.ncd_threshold == threshold for finding in drifts(heard))
    change = AnchorChange(AnchorSettings(1.0 if found else 0.05))
    moved = [*rows[:3], control(4, change), *(replace(row, seq=row.seq + 1) for row in rows[3:])]
    assert len(drifts(folded(moved)[0])) == 1 - found


def test_a_reset_by_itself_is_for_one_anchor_and_for_a_drift_that_goes_on() -> None:
    rows = story(hours=(8, 8, 0))
    last, anchor = len(rows), anchor_id_of(STREAM, 3)
    mine = AnchorChange(freeze=Freeze(instead_of=anchor))
    heard, _, _ = folded([*rows, control(last + 1, mine), control(last + 2, mine)])
    assert shown(heard)[1:] == [(3, AnchorStanding.ENDED), (last + 1, AnchorStanding.IN_FORCE)]  # the second changes nothing
    assert heard.notes[1].ended_because is AnchorEnd.DRIFT
    assert heard.notes[2].cause is AnchorCause.DRIFT
    for wrong in (
        [*rows, control(last + 1, AnchorChange(freeze=Freeze(instead_of=UUID(int=9))))],
        [*story(hours=(8, 0, 0)), control(12, mine)],  # it does not drift
        [*rows, control(last + 1, DROP), control(last + 2, mine)],
    ):
        assert folded(wrong)[0].notes[-1].cause is AnchorCause.REQUEST


def test_another_version_of_its_codec_measures_it_anew_from_its_lines() -> None:
    rows = story(hours=(8, 8, 0))
    heard, resident, folder = folded(rows[:8])
    assert isinstance(resident.fold, Detector)
    anchor = resident.fold.anchoring.anchor
    assert anchor is not None
    resident.fold.anchoring.anchor = replace(anchor, codec_version="0.9", own_ratios=(0.8,))
    after = Heard()
    state = folder.save(resident, 0).checkpoint
    folder = Folder(7, Limits(), pytest.fail)
    resident = folder.load(rows[8], Checkpoint(rows[7].seq, state.state), 0)
    after.add(folder.fold(resident, rows[8:]))
    [note] = after.notes
    assert (note.anchor_id, note.codec_version, note.ratio_normal) == (
        anchor.anchor_id,
        anchor.codec_version,
        anchor.ratio_normal,
    )
    assert heard.hours + after.hours == folded(rows)[0].hours


def test_a_new_era_leaves_the_anchor() -> None:
    rows = story(hours=(8, 8, 0))
    _, resident, folder = folded(rows[:8])
    fold = folder._kinds.anew(resident.fold)
    assert isinstance(fold, Detector)
    assert isinstance(resident.fold, Detector)
    assert fold.anchoring.anchor == resident.fold.anchoring.anchor
    assert fold.anchoring.series == resident.fold.anchoring.series
    assert fold.slide.lines == 0


def test_a_state_that_is_lost_takes_the_anchor_along_and_says_so() -> None:
    rows = story(hours=(2, 0, 0), drift_ncd_threshold=0.5)
    heard = Heard()
    faults: list[str] = []
    folder = Folder(7, Limits(), faults.append)
    resident = folder.load(rows[4], Checkpoint(4, b"damaged"), 0)
    heard.add(folder.fold(resident, rows[4:]))
    [loss] = heard.lost
    assert (loss.seq, loss.kept, loss.settings) == (5, None, AnchorSettings())
    assert faults
    # An older state that can be read keeps its anchor, and says which one that is.
    _, resident, folder = folded(rows[:3])
    older = folder.save(resident, 0).checkpoint.state
    folder, heard = Folder(7, Limits(), faults.append), Heard()
    resident = folder.load(rows[4], Checkpoint(3, older, instead_of=4), 0)
    heard.add(folder.fold(resident, rows[4:]))
    [loss] = heard.lost
    assert (loss.kept, loss.settings.drift_ncd_threshold) == (anchor_id_of(STREAM, 3), 0.5)
    assert [note.anchor_id for note in heard.notes] == [loss.kept]


def test_a_damaged_record_is_passed() -> None:
    rows = story(hours=(1, 0, 0))
    faults: list[str] = []
    folder = Folder(7, Limits(), faults.append)
    resident = folder.load(rows[0], None, 0)
    emitted = folder.fold(resident, [*rows[:2], replace(rows[2], body=b"?"), *rows[3:]])
    assert len(faults) == 1
    assert all(not entry.anchors for entry in emitted.values())


@pytest.mark.parametrize(
    "key", [StreamKey(Signal.METRICS, "checkout"), StreamKey(Signal.TRACES, "_traces")], ids=lambda it: it.text
)
def test_streams_without_lines_take_no_anchor(key: StreamKey) -> None:
    folder = Folder(7, Limits(), pytest.fail)
    row = replace(control(1, FREEZE), stream_key=key)
    resident = folder.load(row, None, 0)
    assert folder.fold(resident, [row]) == {}
    assert drift(resident.fold, folder._kinds.codec_of) == []


def test_a_control_record_is_read_back_as_it_was() -> None:
    for change in (
        FREEZE,
        DROP,
        given([b"a", b"bc"], codec="zstd", codec_level=3),
        AnchorChange(AnchorSettings(0.5, True), True),
    ):
        assert decode_anchor(encode_anchor(change)) == change
    mine = AnchorChange(freeze=Freeze(instead_of=UUID(int=7)))
    assert decode_anchor(encode_anchor(mine)) == mine


@pytest.mark.parametrize(
    "change",
    [
        AnchorChange(AnchorSettings(0.0)),
        AnchorChange(AnchorSettings(1.5)),
        AnchorChange(freeze=Freeze(b"abc")),  # lines that do not add up
        given([b"x"] * 2001),
    ],
    ids=["zero", "beyond", "lengths", "lines"],
)
def test_a_record_that_nobody_may_write_is_damaged(change: AnchorChange) -> None:
    with pytest.raises(Damaged):
        decode_anchor(encode_anchor(change))


def test_a_past_that_is_poisoned_slowly_is_a_drift() -> None:
    """Two lines in a hundred more an hour: the moving past takes them in one by one, the frozen one does not."""
    usual = iid(3)
    rows = [profile(1, PROFILE), records(2, hour(usual, 0, 20)), control(3, FREEZE)]
    rows += [records(4 + n, hour(mixed(3, min(0.02 * n, 0.5)), 1 + n, minutes=20)) for n in range(30)]
    heard, resident, _ = folded(rows)
    [finding] = drifts(heard)
    assert finding.question is Question.DRIFT
    assert isinstance(resident.fold, Detector)
    assert sum(b"flight" in line for line in accepted_lines(resident.fold)) > 0.3 * PROFILE.baseline_size
