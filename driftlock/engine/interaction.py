"""Interactions of one stream: each trace, request or session is scored as a whole, by which lines it has shown by its age.

records -> key of each, masked line of each -> `cbad_cy.keyset` -> verdicts about the interactions that went unlike the others
"""

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from cbad_cy.keyset import BYTES_MAX, KEYS_MAX, Judgement, Keyset, Surprise, covered
from cbad_cy.tokenize import Masks, mask
from driftlock.engine.interaction_key import GroupBy, GroupKind
from driftlock.engine.records import Damaged

SENTENCE_LINES_MAX = 2
_HEAD = struct.Struct("<4sHI")
_MAGIC = b"dli1"
_UNITS = ((86_400e9, "d"), (3_600e9, "h"), (60e9, "min"), (1e9, "s"), (1e6, "ms"))


@dataclass(frozen=True, slots=True)
class InteractionLimits:
    """Bounds of one stream's interactions.

    `keys_max` and `bytes_max` bound those that are open, `line_bytes_max` what is read of a record. Models and texts take
    some 200 KiB beside them.
    """

    keys_max: int = KEYS_MAX
    bytes_max: int = BYTES_MAX
    line_bytes_max: int = 4096


@dataclass(frozen=True, slots=True)
class TemplateBits:
    """A masked line and what it costs in bits that an interaction has it, or misses it; "" = its text was not kept."""

    text: str
    bits: float


@dataclass(frozen=True, slots=True)
class InteractionVerdict:
    """One interaction at one age.

    `bits` grows with strangeness: the code length of what it has shown, over the median of the stream's interactions.
    `p_value` (never 0) is its conformal rank among the stream's past interactions of this age, and among the maxima of blocks
    of neighbours, where one in twenty may be an anomaly itself and does not count; `confidence` is the share of them that was
    less strange. `age_ns` is how long after its first event it was judged; `closed`: it was closed before it got older. Times
    are event times in ns, events indices in the stream. `present` are lines that it has and most have not, `missing` usual ones
    that it lacks, dearest first; both may be empty when only the combination is unusual. `decided` is False while the stream
    is still learning what is usual at this age; then there is no alarm and `p_value` is 1.
    """

    key: str
    bits: float
    p_value: float
    confidence: float
    age_ns: int
    events: int
    first_event: int
    last_event: int
    start_ns: int
    end_ns: int
    present: tuple[TemplateBits, ...]
    missing: tuple[TemplateBits, ...]
    decided: bool
    alarmed: bool
    closed: bool
    at_event: int  # number of the event at which it was judged
    at_ns: int  # the time by then

    @property
    def sentence(self) -> str:
        """What happened, in one plain sentence."""
        parts = []
        if self.present:
            parts.append(f"has {_listed(self.present)}, which is unusual")
        if self.missing:
            parts.append(f"lacks {_listed(self.missing)}, which most have sooner or later")
        told = " and ".join(parts) or "has a combination of lines that is unusual"
        return f"{self.key} {told}, by {_age(self.age_ns)} after its first event ({self.bits:.0f} bits more than most)"


def _listed(lines: tuple[TemplateBits, ...]) -> str:
    named = ", ".join(f"`{line.text}`" if line.text else "a line" for line in lines[:SENTENCE_LINES_MAX])
    more = len(lines) - SENTENCE_LINES_MAX
    return f"{named} and {more} more" if more > 0 else named


def _age(age_ns: int) -> str:
    for size, unit in _UNITS:
        if age_ns >= size:
            return f"{age_ns / size:.2g} {unit}"
    return f"{age_ns} ns"


class Interactions:
    """State of one stream's interactions. A fold: no clock, equal records give equal verdicts, wherever batches are cut.

    In the lines that are compared here the key itself is masked, and so are paths, unlike elsewhere: an interaction is what
    happened, not to which file.
    """

    def __init__(self, group_by: GroupBy, limits: InteractionLimits) -> None:
        self.group_by = group_by
        self.limits = limits
        self.keys = Keyset(keys_max=limits.keys_max, bytes_max=limits.bytes_max)

    def fold(
        self,
        text: bytes,
        lengths: "array[int]",
        times_ns: "array[int]",
        *,
        trace_ids: bytes,
        first_event: int,
        p_value_threshold: float,
        masks: Masks | None = None,
        observer: Callable[[InteractionVerdict], None] | None = None,
    ) -> list[InteractionVerdict]:
        """Take the records of one batch; -> the interactions that alarm, in the order of their alarms. Each alarms once.

        `text`, `lengths` and `trace_ids` as in a `RecordBatch`, `times_ns` the event time of each record (one that goes back
        counts as the latest), `first_event` the first one's index in the stream. Records without a key let time pass. An
        observer sees every judgement; that costs time and changes nothing.
        """
        source, starts, sizes = self.group_by.spans(text, lengths, trace_ids)
        own = text if self.group_by.kind is GroupKind.TRACE else covered(text, starts, sizes)
        lines, line_lengths = mask(own, lengths, line_bytes_max=self.limits.line_bytes_max, paths_as_slots=True, masks=masks)
        found = self.keys.feed(
            source,
            starts,
            sizes,
            lines,
            line_lengths,
            times_ns,
            first_event=first_event,
            threshold=p_value_threshold,
            watch=observer is not None,
        )
        return self._told(found, observer)

    def pass_time(
        self, now_ns: int, *, p_value_threshold: float, observer: Callable[[InteractionVerdict], None] | None = None
    ) -> list[InteractionVerdict]:
        """Let time pass without a record, e.g. by a clock record: open interactions get older. -> as `fold`."""
        return self._told(self.keys.pass_time(now_ns, threshold=p_value_threshold, watch=observer is not None), observer)

    def finish(
        self, *, p_value_threshold: float, observer: Callable[[InteractionVerdict], None] | None = None
    ) -> list[InteractionVerdict]:
        """Close what is open, judged by the last age that it reached: for the end of a file. -> as `fold`."""
        return self._told(self.keys.flush(threshold=p_value_threshold, watch=observer is not None), observer)

    def keys_until_alarm(self, p_value_threshold: float) -> int:
        """How many more interactions have to reach a deciding age before any can alarm at this threshold; 0: they can."""
        return self.keys.keys_until_alarm(p_value_threshold)

    def _told(self, found: list[Judgement], observer: Callable[[InteractionVerdict], None] | None) -> list[InteractionVerdict]:
        verdicts = [self._verdict(judgement) for judgement in found]
        if observer is not None:
            for verdict in verdicts:
                observer(verdict)
        return [verdict for verdict in verdicts if verdict.alarmed]

    def _verdict(self, found: Judgement) -> InteractionVerdict:
        key = self.group_by.shown(found.key)
        return InteractionVerdict(
            key=f"{key}…{found.key_hash:016x}" if found.key_cut else key,
            bits=found.score,
            p_value=found.p_value,
            confidence=found.confidence,
            age_ns=found.age_ns,
            events=found.events,
            first_event=found.first_event,
            last_event=found.last_event,
            start_ns=found.first_ns,
            end_ns=found.last_ns,
            present=tuple(_template(it) for it in found.surprises if it.present),
            missing=tuple(_template(it) for it in found.surprises if not it.present),
            decided=found.decided,
            alarmed=found.alarmed,
            closed=found.closed,
            at_event=found.at_event,
            at_ns=found.at_ns,
        )

    def state(self) -> bytes:
        """Everything it knows; a fold that continues from it gives the same verdicts as one that was never interrupted."""
        name, parts = self.group_by.text.encode(), self.keys.parts()
        return _HEAD.pack(_MAGIC, len(name), len(parts)) + name + parts

    @classmethod
    def restored(cls, state: bytes, group_by: GroupBy, limits: InteractionLimits) -> "Interactions":
        """The interactions as `state` says; raises `Damaged` when it can not be read or is of another `group_by`.

        Under lower limits the oldest open interactions are left out.
        """
        if len(state) < _HEAD.size:
            raise Damaged(f"state of interactions has {len(state)} bytes; it was cut")
        magic, name_size, size = _HEAD.unpack_from(state)
        name, parts = state[_HEAD.size : _HEAD.size + name_size], state[_HEAD.size + name_size :]
        if magic != _MAGIC or len(parts) != size:
            raise Damaged("state of interactions can not be read: it is of another version, or was cut")
        if name != group_by.text.encode():
            raise Damaged(f"state of interactions is of group_by {name.decode('utf-8', 'replace')!r}, not {group_by.text!r}")
        interactions = cls(group_by, limits)
        try:
            interactions.keys.restore(parts)
        except (ValueError, OverflowError) as error:
            raise Damaged(f"state of interactions does not fit together: {error}") from error
        return interactions


def _template(surprise: Surprise) -> TemplateBits:
    return TemplateBits(surprise.text.decode("utf-8", "replace"), surprise.bits)
