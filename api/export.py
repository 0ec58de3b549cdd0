"""Anomalies as lines of a file: JSON lines, CSV for spreadsheets, Markdown for people."""

import csv
import io
import json
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from api import models


class ExportFormat(StrEnum):
    """What a file holds."""

    JSONL = "jsonl"
    CSV = "csv"
    MARKDOWN = "markdown"


COLUMNS = (
    "id",
    "detected_at",
    "stream",
    "start",
    "end",
    "question",
    "subject",
    "explanation",
    "surprise",
    "ncd",
    "ncd_threshold",
    "p_value",
    "p_value_threshold",
    "confidence",
    "calibration",
    "profile",
    "window",
    "first_event",
    "last_event",
    "incident_id",
    "top_line",
    "culprit",
)
"""Of CSV."""
FORMULA = tuple("=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20")
"""Beginnings that spreadsheets take for a formula; the last four are the full-width forms of the first four."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_MARKUP = str.maketrans({mark: "\\" + mark for mark in string.punctuation})


@dataclass(frozen=True, slots=True)
class ExportFile:
    """How a format is written: what stands before all rows, and one row."""

    media_type: str
    suffix: str
    head: str
    row: Callable[[models.AnomalySummary], str]


def cell(text: str) -> str:
    """A text as a cell that no spreadsheet runs: a formula gets an apostrophe before it (OWASP ASVS 5, 1.2.10).

    >>> cell("=1+1"), cell(" @SUM(A1)"), cell("disk full")
    ("'=1+1", "' @SUM(A1)", 'disk full')
    """
    return "'" + text if text.startswith(FORMULA) or text.lstrip().startswith(FORMULA) else text


def markup(text: str) -> str:
    r"""A text that Markdown shows as it stands, on one line: every mark is escaped, and nothing of it is HTML.

    >>> print(markup("<b>*x*</b>"))
    \<b\>\*x\*\<\/b\>
    """
    return _CONTROL.sub(" ", text).translate(_MARKUP)


def _json_row(anomaly: models.AnomalySummary) -> str:
    return json.dumps(anomaly.model_dump(mode="json"), ensure_ascii=False) + "\n"


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([cell(value) if isinstance(value, str) else value for value in values])
    return line.getvalue()


def _csv_row(anomaly: models.AnomalySummary) -> str:
    told = anomaly.model_dump(mode="json")
    told["stream"] = anomaly.stream.slug
    told["top_line"] = "" if anomaly.top_line is None else anomaly.top_line.text
    return _csv_line(["" if told[name] is None else told[name] for name in COLUMNS])


def _markdown_row(anomaly: models.AnomalySummary) -> str:
    facts = [
        ("Stream", anomaly.stream.slug),
        ("Time", f"{anomaly.start or 'unknown'} to {anomaly.end or 'unknown'}"),
        ("About", anomaly.question.value + (f", {anomaly.subject}" if anomaly.subject else "")),
        ("Distance", f"{anomaly.ncd:.2f} (threshold {anomaly.ncd_threshold:.2f})"),
        ("p-value", f"{anomaly.p_value:.2g} (threshold {anomaly.p_value_threshold:.2g})"),
        ("Surprise", f"{anomaly.surprise:.1f} bits"),
        ("Culprit", anomaly.culprit or ""),
        ("Incident", str(anomaly.incident_id or "")),
        ("Id", str(anomaly.id)),
    ]
    told = "".join(f"- {name}: {markup(value)}\n" for name, value in facts if value)
    line = "" if anomaly.top_line is None else f"\n> {markup(anomaly.top_line.text)}\n"
    return f"\n## {markup(anomaly.explanation)}\n\n{told}{line}"


FILES = {
    ExportFormat.JSONL: ExportFile("application/x-ndjson", "jsonl", "", _json_row),
    ExportFormat.CSV: ExportFile("text/csv; charset=utf-8", "csv", _csv_line(COLUMNS), _csv_row),
    ExportFormat.MARKDOWN: ExportFile("text/markdown; charset=utf-8", "md", "# Anomalies\n", _markdown_row),
}
