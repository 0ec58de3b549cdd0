"""Judging the rows of a bundle again, from the state that it holds, with the code that judges in a server. Pure.

The same state, rows, seed, limits and versions give the same finding, byte for byte: whatever else the machine does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from driftlock.engine.era import ALGORITHM, Change, Eras, changes, versions
from driftlock.engine.event import TRACES_SERVICE, Signal
from driftlock.engine.evidence_bundle import BadBundle, Material
from driftlock.engine.folding import NO_CLOCKS, Clocks, Folder, Resident
from driftlock.engine.numbers.finding import CODEC as NUMBERS
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.records import Damaged, decode_clock, decode_config, raw_bytes
from driftlock.engine.traces.finding import CODEC as TRACES
from driftlock.errors import DriftlockError

RAW_BYTES_MAX = 256 * 1024 * 1024
"""All that a bundle holds takes so much at most when it is not compressed: what it says it takes is what it is held to."""


class Differs(DriftlockError):
    """The rows do not give the finding; the text says what they give."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rows gave: `finding` as its sorted JSON, and what it is a function of that depends on versions."""

    finding: bytes
    records: int


def other_versions(material: Material) -> tuple[Change, ...]:
    """What judged in other versions than those here, of all that has a say in this stream: then nothing can be compared.

    Raises `BadBundle` for a state or a configuration that can not be read.
    """
    here = versions()
    mine = _codes(material)
    return tuple(change for change in changes(dict(material.versions), here) if change.name in mine)


def reproduce(material: Material) -> Judged:
    """The finding that the rows give; raises `Differs` when it is another one or none, `BadBundle` for what can not be read.

    Versions have to be those here (`other_versions`).
    """
    faults: list[str] = []
    check_sizes(material)
    try:
        folder, resident, rows = _begin(material, faults)
        absent = folder.absent(resident, rows)
        if absent and resident.numbers is not None:
            resident.numbers.admit({number: material.series[number] for number in absent if number in material.series})
        emitted = folder.fold(resident, rows, _clocks(material.rows[-1]))
    except Damaged as error:
        raise BadBundle(f"what it holds can not be read: {error}") from None
    last = emitted.get(material.rows[-1].seq)
    found = {row.finding_id: row.finding for row in last.findings} if last is not None else {}
    if material.finding_id not in found:
        why = f"; {faults[0]}" if faults else ""
        raise Differs(f"its rows give {len(found)} other findings, and not this one{why}")
    finding = found[material.finding_id].to_json()
    if finding != material.finding:
        raise Differs(f"its rows give another finding of this id: {_first_difference(material.finding, finding)}")
    return Judged(finding, resident.fold.events)


def absent_series(material: Material) -> list[int]:
    """The series of a metrics stream that the rows speak of and that its state does not hold; [] for others.

    Raises `BadBundle` for what can not be read.
    """
    check_sizes(material)
    try:
        folder, resident, rows = _begin(material, [])
        return folder.absent(resident, rows)
    except Damaged as error:
        raise BadBundle(f"what it holds can not be read: {error}") from None


def check_sizes(material: Material) -> None:
    """Raise `BadBundle` when what is compressed in it would take more than `RAW_BYTES_MAX`."""
    states = [] if material.base is None else [material.base.state]
    packed: Iterable[bytes] = (*states, *material.series.values(), *(row.body for row in material.rows))
    size = sum(map(raw_bytes, packed))
    if size > RAW_BYTES_MAX:
        raise BadBundle(f"it holds {size} bytes when it is unpacked, more than {RAW_BYTES_MAX} (RAW_BYTES_MAX)")


def _begin(material: Material, faults: list[str]) -> tuple[Folder, Resident, list[JournalRow]]:
    """The fold before the rows, and those of the stream among them."""
    key = material.key
    folder = Folder(material.seed, material.limits, faults.append, eras=Eras(material.eras))
    head = replace(material.rows[0], tenant_id=material.tenant_id, stream_id=material.stream_id, stream_key=key)
    resident = folder.load(head, material.base, 0)
    if faults:
        raise BadBundle(faults[0])
    return folder, resident, [row for row in material.rows if row.kind is not RowKind.CLOCK]


def _clocks(last: JournalRow) -> Clocks:
    return Clocks((last.seq,), (decode_clock(last.body),)) if last.kind is RowKind.CLOCK else NO_CLOCKS


def _codes(material: Material) -> frozenset[str]:
    """Names of what has a say in a stream: the algorithm, and the codes of its numbers, traces or lines."""
    if material.key.signal is Signal.METRICS:
        return frozenset({ALGORITHM, NUMBERS})
    if material.key.signal is Signal.TRACES and material.key.service == TRACES_SERVICE:
        return frozenset({ALGORITHM, TRACES})
    check_sizes(material)
    try:
        _, resident, rows = _begin(material, [])
        configured = [decode_config(row.body).codec for row in rows if row.kind is RowKind.CONFIG and row.body]
    except Damaged as error:
        raise BadBundle(f"what it holds can not be read: {error}") from None
    return frozenset({ALGORITHM, NUMBERS, resident.fold.profile.codec, *configured})


def _first_difference(one: bytes, other: bytes) -> str:
    """Where two findings part, in a few words."""
    place = next(
        (at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), min(len(one), len(other))
    )
    shown = [text[max(0, place - 20) : place + 20].decode("utf-8", "replace") for text in (one, other)]
    return f"at byte {place} it says {shown[0]!r}, the rows say {shown[1]!r}"
