"""What the engine says: findings about one stream, incidents of a tenant."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Protocol
from uuid import UUID


def content_id(content: bytes) -> UUID:
    """An id that is a function of `content`: UUID version 8 (RFC 9562) over BLAKE2b, so replays agree on it."""
    digest = bytearray(blake2b(content, digest_size=16).digest())
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


class Calibration(StrEnum):
    """How far a stream's p-values may be trusted."""

    CALIBRATING = "calibrating"  # the baseline is still filling: no window has been evaluated
    PROVISIONAL = "provisional"  # windows are evaluated, but too few for the stated false-alarm rate
    OK = "ok"


@dataclass(frozen=True, slots=True)
class NovelLine:
    """A line of a flagged window with the bytes that the baseline does not explain.

    `event` is the line's index in its stream, `text` its bytes as text, `spans` the novel byte ranges (start, end) of
    `text` encoded as UTF-8, `cost_bytes` what the line costs given the baseline (higher = more novel), `nearest` the
    baseline line that resembles it most ("" = none), `count` how many lines of the window have the same masked form.
    """

    event: int
    time_ns: int
    text: str
    spans: tuple[tuple[int, int], ...]
    cost_bytes: int
    nearest: str = ""
    count: int = 1
    instance: str = ""
    trace_id: str = ""


# What findings of earlier versions do not hold: 0 permutations were drawn, and nothing is known about the rest.
ADDED_LATER: Mapping[str, object] = MappingProxyType(
    {"p_permutation": 1.0, "permutations": 0, "compression_ratio_p_value": 1.0, "entropy_p_value": 1.0}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One flagged window, with all that is needed to understand it and to compute it again.

    Directions: `ncd` (calibrated distance, 0..1) and `confidence` (share of the stream's own past windows that were less
    surprising) grow with strangeness, `p_value` (never 0) shrinks. `ratio` is C(W given B)/C(W) with its normal value,
    `ncd_classical` the textbook distance. `p_permutation` is the permutation test's (1 + k)/(1 + permutations): exact if
    lines were exchangeable, which bursts are not, so it is evidence and never the decision. `compression_ratio` is
    raw/compressed bytes, `entropy` bits per byte, each beside the stream's own normal and a two-sided p-value among its
    normal windows (low = unusually high or unusually low). Times are event times in ns; events are indices in the stream,
    `last_event` inclusive. `receive_timed`: some events carried no time and were placed at their receive time, so the
    times are not canonical.
    """

    stream: str
    window: int
    first_event: int
    last_event: int
    start_ns: int
    end_ns: int
    ncd: float
    ncd_threshold: float
    ncd_classical: float
    p_value: float
    p_value_threshold: float
    confidence: float
    p_permutation: float
    permutations: int
    ratio: float
    ratio_normal: float
    compression_ratio: float
    compression_ratio_normal: float
    compression_ratio_p_value: float
    entropy: float
    entropy_normal: float
    entropy_p_value: float
    profile: str
    calibration: Calibration
    codec: str
    codec_level: int
    codec_version: str
    seed: int
    late_events: int
    receive_timed: bool
    explanation: str
    lines: tuple[NovelLine, ...]
    window_lines: tuple[str, ...]
    baseline_lines: tuple[str, ...]

    def to_json(self) -> bytes:
        """The whole finding as sorted JSON; `from_json` reads it back."""
        return _json(asdict(self))

    @classmethod
    def from_json(cls, body: bytes) -> "Finding":
        """The finding that `to_json` wrote."""
        fields = {**ADDED_LATER, **json.loads(body)}
        lines = tuple(NovelLine(**line | {"spans": tuple(map(tuple, line["spans"]))}) for line in fields["lines"])
        texts = {name: tuple(fields[name]) for name in ("window_lines", "baseline_lines")}
        return cls(**fields | texts | {"lines": lines, "calibration": Calibration(fields["calibration"])})

    def canonical(self) -> bytes:
        """The finding without receive times: equal bytes for equal verdicts, however the events came in."""
        fields = asdict(self)
        if self.receive_timed:
            del fields["start_ns"], fields["end_ns"]
            for line in fields["lines"]:
                del line["time_ns"]
        return _json(fields)


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class WindowScore:
    """One evaluated window, flagged or not, as offline runs report it; `bits` = 8 C(W given B), the rest as in `Finding`."""

    window: int
    first_event: int
    last_event: int
    start_ns: int
    end_ns: int
    bits: int
    ncd: float
    p_value: float
    confidence: float
    flagged: bool
    calibration: Calibration


class Observer(Protocol):
    """Who wants to see everything that a stream's fold computes, not only findings. Watching changes no verdict."""

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[int]) -> None:
        """Consecutive events from index `first_event` on: event times in ns, code lengths in bits (higher = less explained)."""
        ...

    def window(self, score: WindowScore) -> None:
        """An evaluated window; its events have been told before."""
        ...


class IncidentState(StrEnum):
    """Life of an incident."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings that belong together: consecutive flagged windows. Times are event times in ns."""

    incident_id: UUID
    stream_ids: tuple[UUID, ...]
    state: IncidentState
    start_ns: int
    end_ns: int
    findings: int
    ncd_max: float
    p_value_min: float
    title: str
