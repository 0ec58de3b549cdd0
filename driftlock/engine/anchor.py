"""Anchors: a frozen baseline of a stream of lines, and what people say of it.

The baseline of a stream moves with the stream: a change that comes slowly enough is its new normal before it is ever odd. An
anchor does not move. Its lines are kept (masked, bounded), so that it can be measured anew whenever the library that measures
it has another version.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from uuid import UUID

from cbad_cy.codec import CODECS, Codec, Prepared
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.engine.verdict import content_id
from driftlock.engine.window import cut_utf8

ANCHOR_LINES_MAX = 2_000
"""Lines of an anchor; of a longer past the newest ones."""
ANCHOR_BYTES_MAX = 256 * 1024
"""Bytes of these lines together, masked, each as often as it came."""
ANCHOR_WINDOW_BYTES_MAX = 64 * 1024
"""Bytes of a compared window: a line may have its share of it."""
OWN_WINDOWS_MAX = 20
"""Windows of an anchor that are compared with the rest of it."""
NORMAL_RATIO_MAX = 0.95
"""A distance is measured on the part of the ratio that the anchor explains; at least so much of it is taken to be left."""
DRIFT_NCD_THRESHOLD = 0.35
DRIFT_NCD_THRESHOLD_MIN = 0.01
DRIFT_NCD_THRESHOLD_MAX = 1.0
SEPARATOR = b"\n"


class AnchorSource(StrEnum):
    """Where the lines of an anchor are from."""

    BASELINE = "baseline"  # the accepted lines of the stream when it was frozen
    EVENTS = "events"  # they came with the request


class AnchorCause(StrEnum):
    """Who froze it."""

    REQUEST = "request"
    DRIFT = "drift"  # the stream had drifted from the anchor before


class AnchorStanding(StrEnum):
    """What became of an anchor."""

    IN_FORCE = "in_force"
    ENDED = "ended"
    REFUSED = "refused"  # there were too few lines to freeze


class AnchorEnd(StrEnum):
    """Why an anchor ended."""

    RESET = "reset"  # somebody froze another one
    DRIFT = "drift"  # another one was frozen by itself after a long drift
    DROPPED = "dropped"
    MASKS = "masks"  # other masks make other lines: nothing can be compared with it any more
    LOST = "lost"  # what the stream had learned could not be read


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """When a stream has drifted from its anchor (`drift_ncd_threshold`, 0..1), and whether it then gets another one."""

    drift_ncd_threshold: float = DRIFT_NCD_THRESHOLD
    reset_on_drift: bool = False


@dataclass(frozen=True, slots=True)
class Freeze:
    """Freeze the accepted baseline, or the lines given: `text` (canonical, not masked), cut by `lengths`; None = none are.

    `instead_of`: only if that anchor is in force by then and drifted from. `codec_level` 0 is the codec's own default.
    """

    text: bytes | None = None
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    codec: str = DEFAULT_CODEC
    codec_level: int = 0
    instead_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class AnchorChange:
    """What a control record says: other settings, then whether the anchor is dropped, then whether one is frozen."""

    settings: AnchorSettings | None = None
    drop: bool = False
    freeze: Freeze | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A frozen baseline. `order` names the form of each of its lines, oldest first; `window` lines are compared with it.

    It was frozen by the journal row `seq` at the event time `frozen_ns`, when `event` events had been folded. `own_ratios` are
    C(W given A)/C(W) of its own windows W, each with the anchor without it: what a window is like that has not drifted.
    """

    anchor_id: UUID
    seq: int
    frozen_ns: int
    event: int
    source: AnchorSource
    cause: AnchorCause
    codec: str
    codec_level: int
    codec_version: str
    window: int
    forms: tuple[bytes, ...]
    order: "array[int]"
    own_ratios: tuple[float, ...]

    @property
    def lines(self) -> list[bytes]:
        """Its lines, oldest first."""
        return [self.forms[number] for number in self.order]

    @property
    def size_bytes(self) -> int:
        """Bytes of its lines."""
        return sum(len(self.forms[number]) for number in self.order)

    @property
    def ratio_normal(self) -> float:
        """r0: the median of `own_ratios`."""
        return median(self.own_ratios)

    def distance(self, ratio: float) -> float:
        """d = clip((r - r0) / (1 - r0), 0, 1): 0 = as explainable as the anchor's own windows, 1 = nothing is explained."""
        normal = min(self.ratio_normal, NORMAL_RATIO_MAX)
        return min(1.0, max(0.0, (ratio - normal) / (1.0 - normal)))

    def p_value(self, ratio: float) -> float:
        """The conformal rank of a ratio among those of its own windows; never 0."""
        return (1 + sum(own >= ratio for own in self.own_ratios)) / (1 + len(self.own_ratios))

    def prepared(self, codec: Codec) -> Prepared:
        """It as a dictionary of `codec`."""
        return _prepared(codec, self.lines)


@dataclass(frozen=True, slots=True)
class AnchorNote:
    """What is shown of an anchor; times are event times in ns, `ended_seq` is the row that ended it (0 = none has).

    `reason` says in words why it was refused or ended.
    """

    anchor_id: UUID
    seq: int
    standing: AnchorStanding
    source: AnchorSource
    cause: AnchorCause
    frozen_ns: int
    event: int
    codec: str
    codec_level: int
    codec_version: str
    window: int
    lines: int
    size_bytes: int
    ratio_normal: float
    ended_seq: int = 0
    ended_ns: int = 0
    ended_because: AnchorEnd | None = None
    reason: str = ""


def note_of(anchor: Anchor) -> AnchorNote:
    """What is shown of an anchor in force."""
    return AnchorNote(
        anchor_id=anchor.anchor_id,
        seq=anchor.seq,
        standing=AnchorStanding.IN_FORCE,
        source=anchor.source,
        cause=anchor.cause,
        frozen_ns=anchor.frozen_ns,
        event=anchor.event,
        codec=anchor.codec,
        codec_level=anchor.codec_level,
        codec_version=anchor.codec_version,
        window=anchor.window,
        lines=len(anchor.order),
        size_bytes=anchor.size_bytes,
        ratio_normal=anchor.ratio_normal,
    )


def anchor_id_of(stream_id: UUID, seq: int) -> UUID:
    """The id of the anchor that the row `seq` freezes: the same on every replay."""
    return content_id(stream_id.bytes + b"anchor" + seq.to_bytes(8, "little"))


def line_share(window: int) -> int:
    """Bytes that a line of an anchor, or of a window that is compared with it, may have."""
    return ANCHOR_WINDOW_BYTES_MAX // window


def kept_lines(lines: Sequence[bytes], window: int) -> list[bytes]:
    """The lines that an anchor keeps: the newest ones, each cut to its share, within `ANCHOR_LINES_MAX` and `_BYTES_MAX`."""
    kept: list[bytes] = []
    left = ANCHOR_BYTES_MAX
    for line in reversed(lines[-ANCHOR_LINES_MAX:]):
        cut = cut_utf8(line, line_share(window))
        left -= len(cut) + len(SEPARATOR)
        if left < 0:
            break
        kept.append(cut)
    return kept[::-1]


def distinct(lines: Sequence[bytes]) -> tuple[tuple[bytes, ...], "array[int]"]:
    """The distinct lines in the order in which they first come, and the number of each line among them."""
    numbers: dict[bytes, int] = {}
    order = array("I", (numbers.setdefault(line, len(numbers)) for line in lines))
    return tuple(numbers), order


def own_ratios(codec: Codec, lines: Sequence[bytes], window: int) -> tuple[float, ...]:
    """C(W given the rest)/C(W) of up to `OWN_WINDOWS_MAX` windows of `lines`, spread evenly; at least two lines are needed.

    A window that is part of the dictionary would be explained by itself, so each is held out. What is left is a little less
    than the anchor, which makes the ratios a little too large, and distances a little too small, by about a window's part of
    the anchor: the error is on the side of silence. Of fewer than two windows the halves are compared with each other.
    """
    size = min(window, len(lines) // 2)
    count = len(lines) // size
    chosen = sorted({count * number // min(count, OWN_WINDOWS_MAX) for number in range(min(count, OWN_WINDOWS_MAX))})
    ratios = []
    for number in chosen:
        held, rest = lines[number * size : (number + 1) * size], [*lines[: number * size], *lines[(number + 1) * size :]]
        ratios.append(codec.ratio_given(SEPARATOR.join(held), _prepared(codec, rest)))
    return tuple(ratios)


def _prepared(codec: Codec, lines: Sequence[bytes]) -> Prepared:
    """Lines as a dictionary, each as often as it came; of those that the codec does not look back to the newest part."""
    text, look_back = SEPARATOR.join(lines), CODECS[codec.name].look_back_bytes_max
    return codec.prepare(text if look_back is None else text[-look_back:])
