"""One worker's share of the applier."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from cbad_cy.codec import Codec
from driftlock.engine.detector import Abandoned, Detector
from driftlock.engine.folding import Folder
from driftlock.engine.limits import Limits
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.profile import PROFILES
from driftlock.engine.records import encode
from tests.engine.streams import FAR_NS, KEY, batch
from tests.engine.test_detector import with_burst


def row(lines: Sequence[bytes], seq: int = 1) -> JournalRow:
    return JournalRow(seq, RowKind.RECORDS, FAR_NS, encode(batch(lines)), UUID(int=1), UUID(int=2), KEY)


def test_a_fold_can_be_abandoned_in_the_middle_of_a_row() -> None:
    detector = Detector(KEY, PROFILES["balanced"], 7, Limits())
    with pytest.raises(Abandoned):
        detector.fold(batch(with_burst(3000)), FAR_NS, Codec("zstd"), abandoned=lambda: True)


def test_an_abandoned_folder_emits_nothing() -> None:
    whole = row(with_burst(3000))
    folder = Folder(7, Limits(), pytest.fail)
    resident = folder.load(whole, None, 0)
    assert folder.fold(resident, [whole])[1].findings
    folder.abandon()
    assert folder.fold(resident, [row(with_burst(3000), 2)]) == {}
