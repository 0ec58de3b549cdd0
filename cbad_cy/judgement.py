"""What kernels say of traces when something alarms: `cbad_cy.calls` of durations and failures, `cbad_cy.shapes` of parts."""

from typing import Final, NamedTuple, TypeAlias

OddCall: TypeAlias = tuple[str, int, int, int, int, float, float, float]
"""Another odd edge of the same alarm: measure, caller, operation, calls, affected, value, usual, bits."""

SeenTrace: TypeAlias = tuple[bytes, int, int, int, int, tuple[int, ...], bool]
"""A trace that shows it: id, start and duration in ns, spans, operation of the first span, operations from a root to the odd
place (of many the first and the last half), whether there is an error."""

Node: TypeAlias = tuple[int, int, int, int]
"""A node of the subtree that is new or missing: depth, operation, +1 or -1, how often in a row."""

POOL_MADE: Final = 1
"""All that a service does or calls: the service of the caller, or of the operation where nobody calls."""

POOL_CALLED: Final = 2
"""All that come from other services to that of the operation."""


class Judgement(NamedTuple):
    """An alarm. Operations, services and instances are numbers, 0 = none; times are event times in ns.

    `since_ns` is where its evidence begins, `time_ns` when the trace was closed with which it alarmed. `score` [0.5, 1) is .5
    for what just alarms, `surprise` grows with strangeness, in bits; `p_value` (0, 1] shrinks. `suspects`: services and bits.

    Of `cbad_cy.calls`: `question` is "latency" or "errors". `measure`: "self_time" (`caller` is 0, `value` and `usual` are s),
    "gap" (`caller` is the client's operation, `operation` the server's; s), "errors" (`caller` is 0; shares). `p_value` is 0.05
    for what just alarms at the usual level, half of it for each bit more; `surprise` the monitor's sum. Of `calls` since then
    `affected` are rather of the fault than of the others. `value`: of durations the mean of the affected, of failures their
    share; `usual`: the median, or the share, of before, 0 where none failed. `pool` says what these calls are: 0 of the
    operation, or the edge; else `POOL_MADE` or `POOL_CALLED`, and then `operation` shows most, but less than half of the bits,
    `value` and `usual` of durations are its own, and all its own numbers are the first of `calls_more`. `instance`: of which
    the affected calls are, or most of them, where a service has several; of a pool: whose calls alone it is about. `suspects`
    and `calls_more` have the most probable cause and the oddest first. `subtree` is empty.

    Of `cbad_cy.shapes`: `question` is "dependency" where no call from the caller's service to the callee's was known when this
    began, or nearly all of them are gone, or the spans of their other side; else "shape". `measure` is "repeats" for more of
    them under one parent, else "calls": new or missing (see `subtree`). `caller` is the parent's operation, `operation` the one
    that is called (of a client's span the operation behind it). `p_value` is 2^-surprise. Of `calls` traces with the parent (of
    a client whose other side is missing: its spans) `affected` have the feature, the share `value`; `usual` is its share in the
    past, 0 where it never occurred. `instance`: the one that sent the parent in most of them, if others were seen to send it.
    `examples` have the newest trace first. `subtree` is the smallest one that is new or repeated (as in the newest example), or
    missing (with what is usually below it). `calls_more` is empty, `pool` 0.
    """

    question: str
    measure: str
    caller: int
    operation: int
    since_ns: int
    time_ns: int
    p_value: float
    score: float
    surprise: float
    calls: int
    affected: int
    value: float
    usual: float
    instance: int
    suspects: tuple[tuple[int, float], ...]
    calls_more: tuple[OddCall, ...]
    examples: tuple[SeenTrace, ...]
    subtree: tuple[Node, ...]
    pool: int
