"""What the engine says: findings about one stream, incidents of a tenant."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, Protocol, TypedDict
from uuid import UUID

from driftlock.engine.evidence import CallEvidence, Chart, SeriesEvidence, Suspect, TraceExample


def content_id(content: bytes) -> UUID:
    """An id that is a function of `content`: UUID version 8 (RFC 9562) over BLAKE2b, so replays agree on it."""
    digest = bytearray(blake2b(content, digest_size=16).digest())
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


class Calibration(StrEnum):
    """How far a stream's p-values may be trusted; the reason in words stands beside it."""

    CALIBRATING = "calibrating"  # the baseline is still filling: no window has been evaluated
    PROVISIONAL = "provisional"  # windows are evaluated, but too few for the stated false-alarm rate
    OK = "ok"
    DEGRADED = "degraded"  # the recent past does not behave as the stated false-alarm rate supposes
    UNKNOWN = "unknown"  # nothing can be said, e.g. because the stream holds no text to judge


class Question(StrEnum):
    """What a finding is about."""

    NOVELTY = "novelty"  # lines, or values in them, that the past does not explain
    MORE = "more"  # a line far more often than usual
    LESS = "less"  # a usual line far more seldom than usual, or gone
    ORDER = "order"  # the usual lines in an unusual order
    REPETITION = "repetition"  # the same again and again, with less variety than usual
    INSTANCE = "instance"  # one instance (pod, host) unlike the others
    INTERACTION = "interaction"  # one trace, session or request that went unlike the others
    VALUE = "value"  # a number unlike what the past of its series predicts
    PATTERN = "pattern"  # the newest numbers of a series, together, are unlike all that it did before
    FLATLINE = "flatline"  # a number that always moved moves no more
    MISSING = "missing"  # a series without points, while its stream goes on
    RATE = "rate"  # so many events a minute as the stream's past does not explain
    SILENCE = "silence"  # a stream, or one of its usual lines, that should have come by now
    TOGETHER = "together"  # many related series that are a little unusual at the same time
    LATENCY = "latency"  # calls that take longer than usual
    ERRORS = "errors"  # calls that fail more often than usual
    SHAPE = "shape"  # traces with a part that is new, missing, or repeated as never before
    DEPENDENCY = "dependency"  # a service that calls another one for the first time, or no longer
    DRIFT = "drift"  # hours of lines that are unlike the stream's anchor


NUMERIC = frozenset(
    {
        Question.VALUE,
        Question.PATTERN,
        Question.FLATLINE,
        Question.MISSING,
        Question.RATE,
        Question.SILENCE,
        Question.TOGETHER,
    }
)
"""Questions about numbers and times, not about the lines of a window."""

TRACED = frozenset({Question.LATENCY, Question.ERRORS, Question.SHAPE, Question.DEPENDENCY})
"""Questions about traces and the calls in them."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one question said of a window.

    `p_value` by itself, before all questions share one false-alarm rate; the effect `distance` (0 = as usual .. 1 = nothing
    is as usual); `surprise` in bits (unbounded: it ranks what p can not tell apart).
    """

    question: Question
    p_value: float
    distance: float
    surprise: float


@dataclass(frozen=True, slots=True)
class MissingLine:
    """A usual line that did not come: its masked form as text.

    It was expected so often, and came so often, within the `horizon` events that were looked at.
    """

    text: str
    expected: float
    observed: float
    horizon: int


@dataclass(frozen=True, slots=True)
class InstanceShare:
    """How much of what is named comes from one instance: its events in the window, and those among the named lines."""

    instance: str
    events: int
    named: int


@dataclass(frozen=True, slots=True)
class NovelLine:
    """A line of a flagged window with the bytes that the baseline does not explain.

    `event` is the line's index in its stream, `text` its bytes as text, `spans` the novel byte ranges (start, end) of
    `text` encoded as UTF-8, `cost_bytes` what the line costs given the baseline (higher = more novel), `nearest` the
    baseline line that resembles it most ("" = none), `count` how many lines of the window have the same masked form.
    `bits` is the code length of the line when it came, `span_bits` that of each span and `span_paths` where each stands
    ("body", "severity", or the name of the attribute or body member, e.g. `http.route`); `share` is the part (0..1) of the
    window's bits above usual that the line and those counted with it explain.
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
    bits: float = 0.0
    span_bits: tuple[float, ...] = ()
    span_paths: tuple[str, ...] = ()
    share: float = 0.0


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
    `question` is what the finding is about, `evidence` what every question said, `surprise` its strength in bits beyond
    the floor of p, `subject` the instance or interaction concerned ("" = the whole stream), `missing` usual lines that did
    not come, `instances` who said the named lines. `p_without` is the p-value of the window without the named lines:
    `verified` says that they restore normality, and as many other lines (`p_without_others`) do not; both are `p_value` where
    the question can not be asked again. `series` are the numbers concerned, where it is about numbers: then what is said of a
    window is neutral, `ncd` is the score of the first of them, and `window` counts minutes of event time. `interaction` numbers
    the stream's interactions that alarmed, -1 for a window: such a finding lasts from the interaction's first event to that at
    which it was judged, and `window` is the stream's newest then. Of traces `calls` are the odd ones, the strongest first,
    `suspects` the services that may be the cause, the most probable first, `examples` traces that show it, and `subtree` the
    part of them that is new ("+ ...") or missing ("- ..."), a line a node, indented; what is said of a window is neutral there.
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
    question: Question = Question.NOVELTY
    surprise: float = 0.0
    evidence: tuple[Evidence, ...] = ()
    subject: str = ""
    missing: tuple[MissingLine, ...] = ()
    instances: tuple[InstanceShare, ...] = ()
    p_without: float = 1.0
    p_without_others: float = 1.0
    verified: bool = False
    calibration_reason: str = ""
    interaction: int = -1
    series: tuple[SeriesEvidence, ...] = ()
    calls: tuple[CallEvidence, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    examples: tuple[TraceExample, ...] = ()
    subtree: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The whole finding as sorted JSON; `from_json` reads it back."""
        return _json(asdict(self))

    @classmethod
    def from_json(cls, body: bytes) -> "Finding":
        """The finding that `to_json` wrote."""
        fields = {**ADDED_LATER, **json.loads(body)}
        parts = {
            "lines": tuple(map(_line_from, fields["lines"])),
            "window_lines": tuple(fields["window_lines"]),
            "baseline_lines": tuple(fields["baseline_lines"]),
            "calibration": Calibration(fields["calibration"]),
            "question": Question(fields.get("question", Question.NOVELTY)),
            "evidence": tuple(Evidence(**it | {"question": Question(it["question"])}) for it in fields.get("evidence", ())),
            "missing": tuple(MissingLine(**it) for it in fields.get("missing", ())),
            "instances": tuple(InstanceShare(**it) for it in fields.get("instances", ())),
            "series": tuple(map(_series_from, fields.get("series", ()))),
            "calls": tuple(CallEvidence(**it) for it in fields.get("calls", ())),
            "suspects": tuple(Suspect(**it) for it in fields.get("suspects", ())),
            "examples": tuple(TraceExample(**it | {"path": tuple(it["path"])}) for it in fields.get("examples", ())),
            "subtree": tuple(fields.get("subtree", ())),
        }
        return cls(**fields | parts)

    def canonical(self) -> bytes:
        """The finding without receive times: equal bytes for equal verdicts, however the events came in."""
        fields = asdict(self)
        if self.receive_timed:
            del fields["start_ns"], fields["end_ns"]
            for line in fields["lines"]:
                del line["time_ns"]
        return _json(fields)


class OfNoWindow(TypedDict):
    """What a finding says of the lines of a window."""

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
    late_events: int
    window_lines: tuple[str, ...]
    baseline_lines: tuple[str, ...]


OF_NO_WINDOW: Final = OfNoWindow(
    p_permutation=1.0,
    permutations=0,
    ratio=1.0,
    ratio_normal=1.0,
    compression_ratio=1.0,
    compression_ratio_normal=1.0,
    compression_ratio_p_value=1.0,
    entropy=0.0,
    entropy_normal=0.0,
    entropy_p_value=1.0,
    late_events=0,
    window_lines=(),
    baseline_lines=(),
)
"""The neutral values of it, for findings that are not about a window."""


def _series_from(fields: dict[str, Any]) -> SeriesEvidence:
    chart = Chart(**{name: tuple(column) for name, column in fields["chart"].items()})
    return SeriesEvidence(**fields | {"chart": chart})


def _line_from(fields: dict[str, Any]) -> NovelLine:
    columns = {name: tuple(fields.get(name, ())) for name in ("span_bits", "span_paths")}
    return NovelLine(**fields | columns | {"spans": tuple(map(tuple, fields["spans"]))})


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class WindowScore:
    """One evaluated window, flagged or not, as offline runs report it; `bits` = C(W given B), the rest as in `Finding`."""

    window: int
    first_event: int
    last_event: int
    start_ns: int
    end_ns: int
    bits: float
    ncd: float
    p_value: float
    confidence: float
    flagged: bool
    calibration: Calibration
    surprise: float = 0.0
    question: Question = Question.NOVELTY


class Observer(Protocol):
    """Who wants to see everything that a stream's fold computes, not only findings. Watching changes no verdict."""

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[float]) -> None:
        """Consecutive events from index `first_event` on: event times in ns, code lengths in bits (higher = less explained)."""
        ...

    def window(self, score: WindowScore) -> None:
        """An evaluated window; its events have been told before."""
        ...


class StreamEventKind(StrEnum):
    """What a stream's own record tells besides findings."""

    CALIBRATED = "calibrated"  # verdicts are no longer provisional
    DEGRADED = "degraded"  # p-values are not what they should be, the reason says why
    RECOVERED = "recovered"  # they are again
    REBASELINED = "rebaselined"  # what was new has become the stream's usual
    RESTARTED = "restarted"  # another geometry, codec or mask: the stream learns anew
    RECORDS_LOST = "records_lost"  # a row of the journal can not be read: it is in quarantine
    STATE_LOST = "state_lost"  # what was learned can not be read: the stream, or a series of it, learns anew
    NEW_ERA = "new_era"  # another version of what judges the stream took over: it learns anew
    DRIFT_ENDED = "drift_ended"  # the stream is like its anchor again
    ANCHOR_ENDED = "anchor_ended"  # it can not be compared with its anchor any more


LOSSES = frozenset({StreamEventKind.RECORDS_LOST, StreamEventKind.STATE_LOST, StreamEventKind.NEW_ERA})
"""Told once for each reason."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that happened to a stream's baseline or calibration.

    `event` is the index of the record that brought it, `window` counts the windows by then, `time_ns` is its event time,
    `reason` one plain sentence.
    """

    kind: StreamEventKind
    event: int
    window: int
    time_ns: int
    reason: str


class IncidentState(StrEnum):
    """Life of an incident."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings that belong together: consecutive flagged windows. Times are event times in ns.

    `alerted`: the false-alarm budget allowed to tell somebody; an incident over the budget is kept and shown all the same.
    `suspects` are the services that may be the cause, the most probable first: the first one is the culprit as far as is known.
    `trace_ids` (hexadecimal) are traces to look at.
    """

    incident_id: UUID
    stream_ids: tuple[UUID, ...]
    state: IncidentState
    start_ns: int
    end_ns: int
    findings: int
    ncd_max: float
    p_value_min: float
    title: str
    surprise_max: float = 0.0
    alerted: bool = True
    suspects: tuple[Suspect, ...] = ()
    trace_ids: tuple[str, ...] = ()
