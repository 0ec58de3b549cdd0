"""Exceptions that are recorded on spans, as text in which what is new stands out.

A stack trace is long and says little that its type, its message and its ends do not say. Judged whole, the one of an
exception that comes every day hides another that never came before, and the rest of the span is cut off behind it. So the
type comes first, and of a long trace only its ends are kept: the innermost frames are at the top in some languages, at the
bottom in others. Lines that name causes stay.

Attributes: OpenTelemetry semantic conventions, "Exceptions in spans".
"""

from collections.abc import Iterator, Mapping

from collector.otlp.limits import OtlpLimits
from driftlock.engine.canonical import Cuts, Value, log_text

EXCEPTION = "exception"
"""The name of the span event that records an exception."""
_TYPE, _MESSAGE, _STACK = "exception.type", "exception.message", "exception.stacktrace"
_CAUSE = "\nCaused by: "


def exception_text(attributes: Mapping[str, Value], limits: OtlpLimits, cuts: Cuts) -> str:
    """Text of an exception event; raises `TooDeep`.

    >>> exception_text({"exception.message": "x", "exception.type": "E", "exception.escaped": True}, OtlpLimits(), Cuts())
    'exception E: x exception.escaped=true'
    """
    told = {name: value for name in (_TYPE, _MESSAGE, _STACK) if isinstance(value := attributes.get(name), str) and value}
    rest = {name: value for name, value in attributes.items() if name not in told}
    headline = ": ".join(told[name] for name in (_TYPE, _MESSAGE) if name in told)
    text = log_text(headline, event_name=EXCEPTION, attributes=rest, limits=limits.text, cuts=cuts)
    return f"{text} {stack_text(told[_STACK], limits)}" if _STACK in told else text


def stack_text(stack: str, limits: OtlpLimits) -> str:
    """A stack trace, or what is kept of a long one: the lines at its two ends, and between them those of its causes."""
    end_chars = limits.stack_end_chars_max
    if len(stack) <= 2 * end_chars:
        return stack
    line_end = stack.rfind("\n", 0, end_chars + 1)
    head = stack[: line_end if line_end > 0 else end_chars]
    line_start = stack.find("\n", len(stack) - end_chars - 1, len(stack) - 1)
    tail = stack[line_start + 1 if line_start > 0 else len(stack) - end_chars :]
    return "\n".join([head, *_causes(stack, len(head), len(stack) - len(tail), limits), "...", tail])


def _causes(stack: str, position: int, end: int, limits: OtlpLimits) -> Iterator[str]:
    for _ in range(limits.causes_max):
        position = stack.find(_CAUSE, position, end)
        if position < 0:
            return
        line_end = stack.find("\n", position + 1, end)
        line = stack[position + 1 : end if line_end < 0 else line_end]
        yield line[: limits.stack_end_chars_max]
        position += 1
