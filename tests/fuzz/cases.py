"""A file of the fuzzer, what it asks of the decoder, and how the decoder's answer differs from the oracle's.

The first byte chooses the signal and whether texts are redacted, the second the limits; the rest is the request.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from cbad_cy import reference
from cbad_cy.tokenize import mask, mask_line
from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.routing import ResourceRouter
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError
from tests.collector.oracle.decode import decode as oracle_decode
from tests.collector.replacing import Replacing

SIGNALS = (Signal.LOGS, Signal.METRICS, Signal.TRACES)
REDACTED = 4
"""This bit of the first byte: texts pass a redactor."""
LIMITS = (
    OtlpLimits(),
    OtlpLimits(
        stack_end_chars_max=8,
        causes_max=1,
        operation_bytes_max=8,
        text=CanonicalLimits(body_bytes_max=24, value_bytes_max=8, key_bytes_max=4, attributes_max=3, depth_max=3),
    ),
    OtlpLimits(
        records_max=3,
        containers_max=4,
        streams_max=2,
        instances_max=1,
        resource_attributes_max=2,
        record_elements_max=12,
        operations_bytes_max=32,
        text_bytes_max=64,
        buckets_max=3,
        exponential_bounds_max=16,
    ),
    OtlpLimits(
        request_bytes_max=256,
        resource_bytes_trusted_max=64,
        record_elements_max=40,
        text=CanonicalLimits(attributes_max=1, depth_max=1),
    ),
)
STARS = Replacing("e")
"""Takes away a letter wherever it stands, and makes texts longer by it."""
_LINE_BYTES_MAX = 4096
_REFERENCE_BYTES_MAX = 512  # the reference of the tokenizer is slow
_MALFORMED = "Malformed"

Decode = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A request of a signal, under limits."""

    signal: Signal
    limits: OtlpLimits
    rules: Replacing | None
    request: bytes


def case_of(data: bytes) -> Case:
    """The case that a file is. Every file is one."""
    choice, limits = (data[0] if data else 0), (data[1] if len(data) > 1 else 0)
    rules = STARS if choice & REDACTED else None
    return Case(SIGNALS[choice % 4 % 3], LIMITS[limits % len(LIMITS)], rules, data[2:])


def differences(case: Case, decoder: Decode = decode) -> list[str]:
    """In what the decoder's answer is not the oracle's; texts that both give are cut into tokens on the way."""
    found, expected = _answer(decoder, case), _answer(oracle_decode, case)
    if isinstance(found, str) or isinstance(expected, str):
        return [] if found == expected else [f"answer: {found} is not {expected}"]
    lines = [f"{name}: {ours!r} is not {theirs!r}" for name, ours, theirs in _pairs(found, expected) if ours != theirs]
    for part in expected.batches:
        lines += _token_differences(part.batch.text, part.batch.lengths)
    return lines


def _answer(decoder: Decode, case: Case) -> Any:
    """What is decoded, or the words of the refusal."""
    try:
        return decoder(case.request, case.signal, case.limits, ResourceRouter(), case.rules)
    except DriftlockError as error:
        kind = type(error).__name__
        # where the damage was noticed is not what was said of it
        return kind if kind == _MALFORMED else f"{kind}: {error.message}"


def _pairs(found: Any, expected: Any) -> Iterator[tuple[str, Any, Any]]:
    yield "cuts", asdict(found.cuts), asdict(expected.cuts)
    for name in ("accepted", "timed"):
        yield name, getattr(found, name), getattr(expected, name)
    yield "read", found.read, expected.accepted + sum(expected.rejected.values())
    yield "message", *(_reasons(each.message) for each in (found, expected))
    yield "rejected", *({str(reason): count for reason, count in each.rejected.items()} for each in (found, expected))
    yield "streams", *([(part.key, part.records) for part in each.batches] for each in (found, expected))
    for ours, theirs in zip(found.batches, expected.batches, strict=False):
        for field in fields(theirs.batch):
            yield f"{theirs.key.text}.{field.name}", *(_comparable(getattr(each.batch, field.name)) for each in (ours, theirs))


def _reasons(message: str) -> list[str]:
    """What a message says, in an order that is not that of the records: a reader counts by reason."""
    return sorted(re.split(r" rejected: |; (?=\d)", message))


def _comparable(column: Any) -> Any:
    """NaN is equal to itself where bits are compared."""
    return (column.typecode, column.tobytes()) if isinstance(column, array) else column


def _token_differences(text: bytes, lengths: array[int]) -> list[str]:
    masked, sizes = mask(text, lengths, line_bytes_max=_LINE_BYTES_MAX)
    found: list[str] = []
    start = at = 0
    for length, size in zip(lengths, sizes, strict=True):
        line, start = text[start : start + length], start + length
        ours, at = masked[at : at + size], at + size
        if length > _LINE_BYTES_MAX:
            continue
        if ours != mask_line(line):
            found.append(f"tokens: {line!r} is another line among others: {ours!r} is not {mask_line(line)!r}")
        elif length <= _REFERENCE_BYTES_MAX and ours != reference.mask_line(line):
            found.append(f"tokens: {line!r}: {ours!r} is not {reference.mask_line(line)!r}")
    if at != len(masked):
        found.append(f"tokens: {len(masked)} bytes of lines that have {at}")
    return found
