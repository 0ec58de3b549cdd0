"""From a drift that begins to a finding: how far, since when, and which lines the anchor explains least."""

from array import array
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from cbad_cy.codec import Codec, Prepared
from cbad_cy.novelty import Coverage, nearest
from driftlock.engine.anchor import SEPARATOR, Anchor
from driftlock.engine.drift import DRIFT_HOURS, HOUR_NS, DriftHour, FarWindow, Gathered
from driftlock.engine.explanation.sentence import masked_headline
from driftlock.engine.limits import SECOND_NS
from driftlock.engine.verdict import OF_NO_WINDOW, Calibration, Evidence, Finding, NovelLine, Question, content_id

LINES_MAX = 5
"""So many lines are named, those that the anchor explains least first."""
EXCERPT_LINES = 20
PROFILE = "anchor"
"""What stands for the name of a profile: none decides."""
P_VALUE_THRESHOLD = 1.0
"""No p-value decides: it is only told."""


@dataclass(frozen=True, slots=True)
class DriftContext:
    """What a finding needs to know of its stream: `window` is the number of its newest window, `event` its newest event."""

    stream: str
    service: str
    seed: int
    window: int
    event: int
    receive_timed: bool


def drift_finding_id(stream_id: UUID, finding: Finding) -> UUID:
    """The id of the finding that a drift began: of one anchor there is one an hour, and it ends with that hour."""
    return content_id(stream_id.bytes + b"drift" + finding.subject.encode() + finding.end_ns.to_bytes(8, "little"))


def drift_finding(
    hour: DriftHour,
    first_ns: int,
    threshold: float,
    far: FarWindow,
    anchor: Anchor,
    codec: Codec,
    prepared: Prepared,
    context: DriftContext,
) -> Finding:
    """The finding that a stream has drifted from `anchor`, as the end of `hour` shows it; `first_ns` began its first hour.

    `far` is the window of that hour which was furthest. Its p-value is the rank of that window among the anchor's own ones, so
    there is no surprise beyond it; what findings say of the stream's own windows is neutral.
    """
    lines = _furthest(far, anchor, codec, prepared)
    distance, p_value = hour.recent or 0.0, anchor.p_value(far.ratio)
    neutral = dict(OF_NO_WINDOW) | {
        "ratio": far.ratio,
        "ratio_normal": anchor.ratio_normal,
        "window_lines": tuple(map(_shown, far.window.lines)),
        "baseline_lines": tuple(map(_shown, anchor.forms[-EXCERPT_LINES:])),
    }
    return Finding(
        **neutral,  # type: ignore[arg-type]  # the members of `OfNoWindow`
        stream=context.stream,
        window=context.window,
        first_event=min(far.window.first_event, context.event),
        last_event=context.event,
        start_ns=first_ns,
        end_ns=hour.hour_ns + HOUR_NS,
        ncd=distance,
        ncd_threshold=threshold,
        ncd_classical=distance,
        p_value=p_value,
        p_value_threshold=P_VALUE_THRESHOLD,
        confidence=1.0 - p_value,
        profile=PROFILE,
        calibration=Calibration.OK,
        calibration_reason=f"the anchor's own normal is the median of {len(anchor.own_ratios)} of its windows",
        codec=anchor.codec,
        codec_level=anchor.codec_level,
        codec_version=anchor.codec_version,
        seed=context.seed,
        receive_timed=context.receive_timed,
        explanation=_sentence(context.service, distance, threshold, anchor, lines),
        lines=lines,
        question=Question.DRIFT,
        evidence=(Evidence(Question.DRIFT, p_value, distance, 0.0),),
        subject=str(anchor.anchor_id),
    )


def _furthest(far: FarWindow, anchor: Anchor, codec: Codec, prepared: Prepared) -> tuple[NovelLine, ...]:
    """The distinct lines of a window that cost most given the anchor, with what is new in them and what resembles them."""
    window: Gathered = far.window
    empty, seen = codec.size_given(b"", prepared), Counter(window.lines)
    costs = {line: max(0, codec.size_given(line, prepared) - empty) for line in seen}
    total = sum(costs[line] * count for line, count in seen.items())
    place = {line: number for number, line in reversed(list(enumerate(window.lines)))}
    coverage = Coverage(SEPARATOR.join(anchor.forms))
    reference, lengths = b"".join(anchor.forms), array("I", map(len, anchor.forms))
    lines = []
    for line in sorted(costs, key=lambda it: (-costs[it], place[it]))[:LINES_MAX]:
        like = nearest(line, reference, lengths)
        lines.append(
            NovelLine(
                event=window.first_event + place[line],
                time_ns=window.times_ns[place[line]],
                text=_shown(line),
                spans=tuple(coverage.novel_spans(line)) if _sayable(line) else (),
                cost_bytes=costs[line],
                nearest=_shown(anchor.forms[like]) if like >= 0 else "",
                count=seen[line],
                bits=8.0 * costs[line],
                share=costs[line] * seen[line] / total if total else 0.0,
            )
        )
    return tuple(lines)


def _sentence(service: str, distance: float, threshold: float, anchor: Anchor, lines: tuple[NovelLine, ...]) -> str:
    at = datetime.fromtimestamp(anchor.frozen_ns // SECOND_NS, UTC)
    frozen = f" of {at:%Y-%m-%d %H:%M} UTC" if anchor.frozen_ns else ""
    said = f"`{service}` has drifted from its anchor{frozen}: in the last {DRIFT_HOURS} hours with events its lines were "
    said += f"{distance:.2f} away from it (threshold {threshold:g})"
    return f"{said}, furthest {masked_headline(lines[0].text)}." if lines else f"{said}."


def _sayable(line: bytes) -> bool:
    """Whether a line is shown as the bytes that it is, so that places in it are places in what is shown."""
    return _shown(line).encode() == line


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
