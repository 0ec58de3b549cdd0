"""One plain sentence about calls and traces. What it says of the past is true, or it is not said."""

from collections.abc import Sequence
from typing import NamedTuple

from cbad_cy.judgement import POOL_CALLED
from driftlock.engine.evidence import CallEvidence
from driftlock.engine.explanation.sentence import QUOTE_CHARACTERS_MAX
from driftlock.engine.limits import SECOND_NS
from driftlock.engine.numbers.wording import moment
from driftlock.engine.traces.quantity import beside, quantity
from driftlock.engine.verdict import Question

LIKELY_SHARE = 0.5
"""From this share of the evidence on one service is named as the cause; below, two are."""

RARE_SHARE = 1e-4
"""What comes in a smaller share of traces or calls is said to come hardly ever."""

LASTED_S_MAX = 120
"""What lasts for less is told with its seconds, and what lasts longer with the minute in which it began."""

CALLERS = frozenset({3, 4})
"""Kinds of spans that stand for a call of something else: client and producer."""


class Told(NamedTuple):
    """What a sentence needs beside the odd calls: when it began and ended, where traces begin, and who may be the cause.

    `roots` are operations at the roots of examples; `sign` is +1 for what is new, -1 for what is missing, 0 for neither;
    `repeats` is how often a repeated part came at least; `kind` and `caller_kind` are those of the operation and of the one
    that calls it, as in OTLP. `pool` is as in `Judgement`; where it is not 0, `above` is the operation that shows most.
    `suspects` are services, named as in `short_name`, with their shares, the most probable first.
    """

    since_ns: int
    time_ns: int
    roots: Sequence[str] = ()
    sign: int = 0
    repeats: int = 1
    kind: int = 0
    caller_kind: int = 0
    pool: int = 0
    above: str = ""
    suspects: Sequence[tuple[str, float]] = ()


def sentence(question: Question, it: CallEvidence, told: Told) -> str:
    """What is found, about the oddest calls."""
    match question:
        case Question.LATENCY | Question.ERRORS if told.pool:
            text = _pool(question, it, told)
        case Question.LATENCY:
            text = _latency(it, told)
        case Question.ERRORS:
            text = _errors(it, told)
        case Question.DEPENDENCY:
            return _dependency(it, told)
        case _:
            text = _shape(it, told)
    return f"{text}{_cause(told)}."


def short_name(service: str) -> str:
    """A service without its namespace and environment.

    >>> short_name("shop/cart@prod")
    'cart'
    """
    return service.rpartition("@")[0].rpartition("/")[2] or service.rpartition("/")[2]


def _pool(question: Question, it: CallEvidence, told: Told) -> str:
    """Many operations together show what none does by itself; one is named, without the numbers of the few calls it had."""
    what = "take longer"
    if question is Question.ERRORS:
        what = "fail more often"
    elif told.pool == POOL_CALLED:
        what = "spend longer on the way"
    return f"Calls of {short_name(it.callee)} {what} than usual{_instance(it)}, above all {_cut(told.above)}"


def _latency(it: CallEvidence, told: Told) -> str:
    value, usual = beside(it.value, it.usual, it.unit)
    caller, callee = _ends(it)
    name = _cut(it.operation)
    if it.measure == "gap":
        what = f"Calls from {caller} to {callee} ({name}) spend {value} on the way"
    elif it.caller and it.caller != it.callee:
        what = f"Calls from {caller} to {callee} ({name}) take {value}"
    elif told.kind in CALLERS:  # a call that nobody else's span answers: nothing is known of what it waits for
        what = f"Calls that {callee} makes ({name}) take {value}"
    else:
        what = f"{callee} ({name}) takes {value}{' by itself' if it.measure == 'self_time' else ''}"
    return f"{what}, usually {usual}{_so_many(it)}{_since(told)}{_instance(it)}"


def _errors(it: CallEvidence, told: Told) -> str:
    caller, callee = _ends(it)
    name = _cut(it.operation)
    if it.caller and it.caller != it.callee:
        of = f"calls from {caller} to {callee} ({name})"
    elif told.kind in CALLERS:
        of = f"calls that {callee} makes ({name})"
    else:
        of = f"calls of {callee} ({name})"
    return f"{_share(it.value)} of the {of} fail, {_usually(it.usual)}{_so_many(it)}{_since(told)}{_instance(it)}"


def _shape(it: CallEvidence, told: Told) -> str:
    traces = f"Traces of {_listed(told.roots)}" if told.roots else "Traces"
    caller, callee = _ends(it)
    part = f"{callee} does {_cut(it.operation)}"
    if it.caller and it.caller != it.callee:
        part = f"{caller} calls {callee} ({_cut(it.operation)})"
    told_of = f"{_in_traces(it)}{_since(told)}{_instance(it)}"
    if it.measure == "repeats":
        often = f"{told.repeats:,} times or more" if told.repeats > 1 else "again and again"
        return f"{traces} repeat a part: {part} {often}, {told_of}, {_usually(it.usual, 'in ')}"
    if told.sign < 0:
        return f"{traces} lack a part: {part}, missing {told_of}, {_usually(it.usual, 'in ')}"
    new = "a new part" if it.usual < RARE_SHARE else "a part more often than usual"
    return f"{traces} have {new}: {part}, {told_of}, {_usually(it.usual, 'in ')}"


def _dependency(it: CallEvidence, told: Told) -> str:
    caller, callee = _ends(it)
    if told.sign < 0 and told.caller_kind in CALLERS:  # the call is there, and what answers it is not
        of = f"Calls from {caller} to {callee} ({_cut(it.operation)}) leave no spans of {callee}"
        return f"{of}: {it.affected:,} of {it.calls:,}{_since(told)}{_instance(it)}, {_usually(it.usual)}{_cause(told)}."
    if told.sign < 0:
        still = "hardly ever calls" if it.affected < it.calls else "no longer calls"
        of = f"{caller or 'Nobody'} {still} {callee} ({_cut(it.operation)})"
        return f"{of}: missing {_in_traces(it)}{_since(told)}, {_usually(it.usual, 'in ')}."
    many = f"in {it.affected:,} {'trace' if it.affected == 1 else 'traces'}"
    return f"{caller or 'A sender'} calls {callee} ({_cut(it.operation)}) for the first time: {many}{_since(told)}."


def _share(share: float) -> str:
    return quantity(share, "1", 2)


def _usually(share: float, of: str = "") -> str:
    """What is usual, where that is a share; a rare one is no number that says anything."""
    if share < RARE_SHARE:
        return "hardly ever before" if share > 0 else "never before"
    return f"usually {of}{_share(share)}"


def _listed(names: Sequence[str]) -> str:
    first, *others = map(_cut, names)
    return f"{first} and {others[0] if len(others) == 1 else 'others'}" if others else first


def _ends(it: CallEvidence) -> tuple[str, str]:
    """Caller and callee by their short names, unless those are the same."""
    caller, callee = short_name(it.caller), short_name(it.callee)
    return (it.caller, it.callee) if caller == callee and it.caller != it.callee else (caller, callee)


def _so_many(it: CallEvidence) -> str:
    if not it.calls:
        return f": {it.affected:,} of them"
    return f": {it.affected:,} of {it.calls:,} {'call' if it.calls == 1 else 'calls'}"


def _in_traces(it: CallEvidence) -> str:
    return f"in {it.affected:,} of {it.calls:,} traces" if it.calls else f"in {it.affected:,} traces"


def _instance(it: CallEvidence) -> str:
    return f", most in {it.instance}" if it.instance else ""


def _since(told: Told) -> str:
    """For how long, or since when; nothing where all of it came at once."""
    lasted_s = (told.time_ns - told.since_ns) // SECOND_NS
    if lasted_s < 1:
        return ""
    return f" within {lasted_s:,} s" if lasted_s < LASTED_S_MAX else f" since {moment(told.since_ns, told.time_ns)}"


def _cause(told: Told) -> str:
    if not told.suspects:
        return ""
    (first, share), *others = told.suspects
    if share < LIKELY_SHARE and others:
        return f"; {first} or {others[0][0]} is the most probable cause"
    return f"; {first} is the most probable cause"


def _cut(name: str) -> str:
    return name if len(name) <= QUOTE_CHARACTERS_MAX else f"{name[:QUOTE_CHARACTERS_MAX]}…"
