"""What findings about numbers and traces show: series, calls, services that may be the cause, traces to look at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chart:
    """The newest points of a series, oldest first: event times in ns, values, and the range in which they were expected."""

    times_ns: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    expected: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesEvidence:
    """One series and what was odd about it.

    `series` is its canonical name, `instance` who sends it ("" = unknown). `value` came where `expected` was predicted, from
    `low` to `high` being usual; `bits` is the code length of the point, `score` its strength 0..1 (0.5 = just an alarm).
    `expert` says which way of predicting was relied on, `since_ns` when it began (event time). Of `Question.TOGETHER` there
    are several, the strongest first.
    """

    series: str
    value: float
    expected: float
    low: float
    high: float
    bits: float
    score: float
    expert: str
    since_ns: int
    instance: str = ""
    chart: Chart = Chart()


@dataclass(frozen=True, slots=True)
class CallEvidence:
    """Calls of one operation, or from one service to another, and what was odd about them.

    `operation` is one of `callee` ("" = all of them); `caller` is the service that calls it ("" = the operation by itself).
    `measure` says what is compared: "duration", "self_time" (without the calls that it makes), "gap" (the caller's span without
    the callee's: network and queues), "errors", "calls" or "repeats"; `value` came where `usual` is usual, in `unit` ("s",
    "1" = a share, or "calls"). Of `calls` calls `affected` are odd. `bits` grow with strangeness; `instance` sent most of the
    odd ones ("" = no one).
    """

    caller: str
    callee: str
    operation: str
    measure: str
    calls: int
    affected: int
    value: float
    usual: float
    unit: str
    bits: float
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A service that may be the cause: its bits of evidence, and its share (0..1) of those of all suspects.

    `service` is the text of its streams' keys without the signal.
    """

    service: str
    bits: float
    share: float


@dataclass(frozen=True, slots=True)
class TraceExample:
    """A trace that shows what was found: `path` leads from its root to the odd place, `error` says whether its root failed.

    `trace_id` is in hexadecimal, times are event times in ns, `root` is the operation at its root.
    """

    trace_id: str
    start_ns: int
    duration_ns: int
    spans: int
    root: str
    path: tuple[str, ...] = ()
    error: bool = False
