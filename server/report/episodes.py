"""Incidents as the command line tells them, whether a server found them or an offline run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.views import segments
from driftlock.engine.verdict import Finding


@dataclass(frozen=True, slots=True)
class ToldLine:
    """A line of a finding in pieces (text, is it novel), and how many lines of the window are like it."""

    pieces: tuple[tuple[str, bool], ...]
    count: int


@dataclass(frozen=True, slots=True)
class Told:
    """A finding as it is told. `ncd` grows with strangeness, `p_value` shrinks."""

    ncd: float
    p_value: float
    explanation: str
    lines: tuple[ToldLine, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """Findings of consecutive windows, told by the strangest of them. Times are RFC 3339, None where there is none."""

    strangest: Told
    findings: int
    start: str | None
    end: str | None
    first_event: int
    last_event: int


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What was found in a stream: `findings` of `incidents` in all, of which `episodes` are shown, oldest first."""

    name: str
    episodes: Sequence[Episode]
    incidents: int
    findings: int


def told_of_finding(finding: Finding) -> Told:
    """A finding of this process."""
    lines = tuple(
        ToldLine(tuple((piece.text, piece.novel) for piece in segments(line.text, line.spans)), line.count)
        for line in finding.lines
    )
    return Told(finding.ncd, finding.p_value, finding.explanation, lines)


def told_of_json(finding: Mapping[str, Any]) -> Told:
    """A finding as REST shows it, in full or in a list."""
    lines = finding.get("lines") or [line for line in [finding.get("top_line")] if line]
    told = tuple(
        ToldLine(tuple((piece["text"], piece["novel"]) for piece in line["segments"]), line["count"]) for line in lines
    )
    return Told(finding["ncd"], finding["p_value"], finding["explanation"], told)
