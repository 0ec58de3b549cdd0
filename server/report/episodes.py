"""Incidents as the command line tells them, whether a server found them or an offline run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.views import segments
from driftlock.engine.verdict import Finding, Question


@dataclass(frozen=True, slots=True)
class ToldLine:
    """A line of a finding in pieces (text, is it novel), and how many lines of the window are like it.

    `bits` is what it cost when it came (0 = not told), `paths` where in the record its novel pieces stand, each once.
    """

    pieces: tuple[tuple[str, bool], ...]
    count: int
    bits: float = 0.0
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToldMissing:
    """A usual line that did not come, or hardly."""

    text: str
    expected: float
    observed: float


@dataclass(frozen=True, slots=True)
class Told:
    """A finding as it is told. `ncd` grows with strangeness, `p_value` shrinks.

    `p_without` is the p-value without the lines told, None unless it is verified that they are the reason.
    """

    ncd: float
    p_value: float
    explanation: str
    lines: tuple[ToldLine, ...]
    question: str = Question.NOVELTY.value
    missing: tuple[ToldMissing, ...] = ()
    p_without: float | None = None


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
        ToldLine(
            tuple((piece.text, piece.novel) for piece in segments(line.text, line.spans)),
            line.count,
            line.bits,
            tuple(dict.fromkeys(line.span_paths)),
        )
        for line in finding.lines
    )
    missing = tuple(ToldMissing(line.text, line.expected, line.observed) for line in finding.missing)
    p_without = finding.p_without if finding.verified else None
    return Told(finding.ncd, finding.p_value, finding.explanation, lines, finding.question.value, missing, p_without)


def told_of_json(finding: Mapping[str, Any]) -> Told:
    """A finding as REST shows it, in full or in a list. Servers of earlier versions tell less."""
    lines = finding.get("lines") or [line for line in [finding.get("top_line")] if line]
    told = tuple(
        ToldLine(
            tuple((piece["text"], piece["novel"]) for piece in line["segments"]),
            line["count"],
            line.get("bits") or 0.0,
            tuple(dict.fromkeys(piece["path"] for piece in line["segments"] if piece["novel"] and piece.get("path"))),
        )
        for line in lines
    )
    missing = tuple(ToldMissing(line["text"], line["expected"], line["observed"]) for line in finding.get("missing") or ())
    question = finding.get("question") or Question.NOVELTY.value
    p_without = finding.get("p_without") if finding.get("verified") else None
    return Told(finding["ncd"], finding["p_value"], finding["explanation"], told, question, missing, p_without)
