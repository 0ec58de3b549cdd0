"""Events of a REST request as a batch of records, with the canonical text that the OTLP doors use too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.endpoint import pointer
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import TIME_NS_MAX, parse_rfc3339, parse_unix_seconds
from driftlock.engine.canonical import CanonicalLimits, Cuts, TooDeep, log_text, utf8
from driftlock.engine.event import RecordBatch


@dataclass(frozen=True, slots=True)
class Decoded:
    """The records of a request, and what did not fit the limits of a record."""

    batch: RecordBatch
    cuts: Cuts


def decode(events: Sequence[Any], *, historical: bool, limits: CanonicalLimits) -> Decoded:
    """Columns of `events`; raise `BadMembers` that points at the first one that is no event."""
    batch, cuts = RecordBatch(historical=historical), Cuts()
    texts: list[bytes] = []
    for index, event in enumerate(events):
        if isinstance(event, str):
            time_ns, text = 0, log_text(event, limits=limits, cuts=cuts)
        elif isinstance(event, dict):
            time_ns, text = _object(event, index, limits, cuts)
        else:
            raise _bad("is neither a text nor an object", index)
        raw = utf8(text, cuts)
        texts.append(raw)
        batch.lengths.append(len(raw))
        batch.times_ns.append(time_ns)
    batch.text = b"".join(texts)
    return Decoded(batch, cuts)


def _object(event: Mapping[str, Any], index: int, limits: CanonicalLimits, cuts: Cuts) -> tuple[int, str]:
    """Event time and text of an event that is an object: with `text` a log line with attributes, without it a map."""
    rest = {name: value for name, value in event.items() if name not in ("time", "text")}
    time_ns = _time_ns(event.get("time"), index)
    try:
        if "text" not in event:
            return time_ns, log_text(rest, limits=limits, cuts=cuts)
        text = event["text"]
        if not isinstance(text, str):
            raise _bad("is not a string", index, "text")
        return time_ns, log_text(text, attributes=rest, limits=limits, cuts=cuts)
    except TooDeep as error:
        raise _bad(error.message, index) from None


def _time_ns(value: object, index: int) -> int:
    """Nanoseconds of an event's time; 0 if it has none."""
    if value is None:
        return 0
    if isinstance(value, str):
        try:
            ns = parse_rfc3339(value)
        except ValueError as error:
            raise _bad(str(error), index, "time") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        ns = parse_unix_seconds(value)
    else:
        raise _bad("is neither Unix seconds nor an RFC 3339 time", index, "time")
    if not 0 <= ns <= TIME_NS_MAX:
        raise _bad("is outside the years 1970 to 2554; numbers are seconds, not milliseconds", index, "time")
    return ns


def _bad(detail: str, index: int, *names: str) -> BadMembers:
    return BadMembers([ProblemMember(detail=detail, pointer=pointer("events", index, *names))])
