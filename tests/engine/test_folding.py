"""One worker's share of the applier."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from cbad_cy.codec import Codec
from driftlock.engine.detector import Detector
from driftlock.engine.fold import Abandoned
from driftlock.engine.folding import Folder
from driftlock.engine.limits import Limits
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, custom
from driftlock.engine.records import encode, encode_config
from driftlock.engine.verdict import StreamEventKind
from tests.engine.streams import FAR_NS, KEY, batch, iid, take
from tests.engine.test_detector import with_burst


def row(lines: Sequence[bytes], seq: int = 1) -> JournalRow:
    return JournalRow(seq, RowKind.RECORDS, FAR_NS, encode(batch(lines)), UUID(int=1), UUID(int=2), KEY)


def test_a_fold_can_be_abandoned_in_the_middle_of_a_row() -> None:
    detector = Detector(KEY, PROFILES["balanced"], 7, Limits())
    with pytest.raises(Abandoned):
        detector.fold(batch(with_burst(3000)), FAR_NS, Codec(DEFAULT_CODEC), abandoned=lambda: True)


def test_what_happened_to_a_stream_is_emitted_with_its_row_and_once() -> None:
    lines = take(iid(1), 5200)
    rows = [row(lines[:4990], 1), row(lines[4990:5100], 2), row(lines[5100:], 3)]
    folder = Folder(7, Limits(), pytest.fail)
    resident = folder.load(rows[0], None, 0)
    emitted = folder.fold(resident, rows[:2])
    [calibrated] = emitted[2].events
    assert emitted[1].events == ()
    assert (calibrated.event.kind, calibrated.event.event) == (StreamEventKind.CALIBRATED, 4999)
    assert (calibrated.tenant_id, calibrated.stream_id) == (rows[0].tenant_id, rows[0].stream_id)
    assert folder.fold(resident, rows[1:])[3].events == ()
    # A row that is folded again after a restart says the same under the same id.
    again = folder.load(rows[0], None, 0)
    folder.fold(again, rows[:1])
    again = folder.load(rows[1], folder.save(again, 0).checkpoint, 0)
    assert [event.event_id for event in folder.fold(again, rows)[2].events] == [calibrated.event_id]


def test_a_new_geometry_is_told_with_the_next_records_even_after_a_restart() -> None:
    lines, folder = take(iid(1), 1000), Folder(7, Limits(), pytest.fail)
    profile = custom(PROFILES["balanced"], {"window_size": 40})
    change = JournalRow(2, RowKind.CONFIG, FAR_NS, encode_config(profile), UUID(int=1), UUID(int=2), KEY)
    first, third = row(lines[:500], 1), row(lines[500:], 3)
    resident = folder.load(first, None, 0)
    assert 2 not in folder.fold(resident, [first, change])
    resident = folder.load(third, folder.save(resident, 0).checkpoint, 0)
    [restarted] = folder.fold(resident, [third])[3].events
    assert (restarted.event.kind, restarted.event.event) == (StreamEventKind.RESTARTED, 500)


def test_an_abandoned_folder_emits_nothing() -> None:
    whole = row(with_burst(3000))
    folder = Folder(7, Limits(), pytest.fail)
    resident = folder.load(whole, None, 0)
    assert folder.fold(resident, [whole])[1].findings
    folder.abandon()
    assert folder.fold(resident, [row(with_burst(3000), 2)]) == {}
