"""From a flagged window to a finding: the numbers, the explanation, and the proof that it explains.

What is done here is done for flagged windows only, so it may take a millisecond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cbad_cy.codec import Codec
from cbad_cy.codelength import BIT, template
from cbad_cy.slide import SHARES, Slide, Window
from cbad_cy.tokenize import Masks
from driftlock.engine.explanation.explain import Explanation, explain
from driftlock.engine.explanation.suspicion import LineCost, Suspicion
from driftlock.engine.limits import Limits
from driftlock.engine.permutation import permutation_test, window_seed
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Evidence, Finding, Question
from driftlock.engine.window import Event

BASELINE_EXCERPT_LINES = 20
SEPARATOR = b"\n"
DEAREST = 3


@dataclass(frozen=True, slots=True)
class Context:
    """What a finding needs to know of its stream and of the moment."""

    stream: str
    service: str
    origin: int
    profile: Profile
    ncd_threshold: float
    p_value_threshold: float
    seed: int
    calibration: Calibration
    calibration_reason: str
    first_event_ns: int
    receive_timed: bool  # did any record of the stream stand at its receive time?
    limits: Limits
    masks: Masks | None


def finding_of(window: Window, events: Sequence[Event], slide: Slide, codec: Codec, context: Context) -> Finding:
    """The finding of the flagged window that `slide` has just returned; `events` are those that it holds, oldest first."""
    known = slide.pool.distinct()
    baseline = [(form, count) for form, count in known if count]
    first = context.origin + window.end - len(events)
    lines = [event.masked for event in events]
    suspicion = _suspicion(window, events, dict(known))
    told = _explanation(window, events, dict(known), suspicion, slide, codec, context)
    permutation = permutation_test(
        lines,
        baseline,
        codec,
        seed=window_seed(context.seed, window.number),
        draws_max=context.profile.permutations_max,
    )
    compression = window.size / window.plain
    return Finding(
        stream=context.stream,
        window=window.number,
        first_event=first,
        last_event=context.origin + window.end - 1,
        start_ns=min(event.time_ns for event in events),
        end_ns=max(event.time_ns for event in events),
        ncd=window.distance,
        ncd_threshold=context.ncd_threshold,
        ncd_classical=codec.ncd(slide.dictionary(codec) + SEPARATOR, SEPARATOR.join(lines)),
        p_value=window.p_value,
        p_value_threshold=context.p_value_threshold,
        confidence=window.confidence,
        p_permutation=permutation.p_value,
        permutations=permutation.draws,
        ratio=window.given / window.plain,
        ratio_normal=window.usual,
        compression_ratio=compression,
        compression_ratio_normal=slide.compressions.median(compression),
        compression_ratio_p_value=slide.compressions.two_sided(compression),
        entropy=window.entropy,
        entropy_normal=slide.entropies.median(window.entropy),
        entropy_p_value=slide.entropies.two_sided(window.entropy),
        profile=context.profile.name,
        calibration=context.calibration,
        codec=codec.name,
        codec_level=codec.level,
        codec_version=codec.version,
        seed=context.seed,
        late_events=sum(event.late for event in events),
        receive_timed=any(event.receive_timed for event in events),
        explanation=told.sentence,
        lines=told.lines,
        window_lines=tuple(_shown(event.text) for event in events),
        baseline_lines=tuple(_shown(form) for form, _ in baseline[-BASELINE_EXCERPT_LINES:]),
        question=suspicion.question,
        surprise=window.surprise,
        evidence=tuple(Evidence(Question(it.question), it.p_value, it.distance, it.surprise) for it in window.said),
        subject=suspicion.subject,
        missing=told.missing,
        instances=told.instances,
        p_without=told.p_without,
        p_without_others=told.p_without_others,
        verified=told.verified,
        calibration_reason=context.calibration_reason,
    )


def _explanation(
    window: Window,
    events: Sequence[Event],
    known: Mapping[bytes, int],
    suspicion: Suspicion,
    slide: Slide,
    codec: Codec,
    context: Context,
) -> Explanation:
    costs = line_costs([event.masked for event in events], slide, codec)
    return explain(
        events,
        context.origin + window.end - len(events),
        known,
        costs,
        suspicion,
        lambda places: without(places, window, costs, slide, codec),
        alpha=context.p_value_threshold,
        limits=context.limits,
        seed=window_seed(context.seed, window.number),
        memory_ns=max(0, max(event.time_ns for event in events) - context.first_event_ns),
        stream=context.service,
        masks=context.masks,
    )


def instance_number(name: str) -> int:
    """The number by which the kernels know an instance: 64 bits, never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") or 1


def line_costs(lines: Sequence[bytes], slide: Slide, codec: Codec) -> list[LineCost]:
    """What each line of the window cost when it came; under a compressor, what it costs given the past as it is now."""
    if slide.content.coder is None:
        prepared = slide.prepared
        empty, forms = codec.size(b""), dict.fromkeys(lines)
        if prepared is not None:
            sizes = {form: codec.size_given(form, prepared) for form in forms}
        else:
            sizes = {form: codec.size(form) for form in forms}
        return [LineCost(8.0 * max(0, sizes[line] - empty)) for line in lines]
    return [
        LineCost(
            cost / BIT,
            tuple((start, stop, bits / BIT) for start, stop, slot, bits in marks if slot < 0),
            tuple((slot, bits / BIT) for _, _, slot, bits in marks if slot >= 0),
        )
        for cost, _, _, marks in slide.window_costs()
    ]


def without(places: frozenset[int], window: Window, costs: Sequence[LineCost], slide: Slide, codec: Codec) -> float:
    """The p-value of the window if the events at `places` had not been there, by the same reference.

    Only novelty can be judged again: the other questions look further back than the window, and their p-value stays.
    """
    if window.question != Question.NOVELTY:
        return window.p_value
    kept = [place for place in range(len(costs)) if place not in places]
    if slide.content.coder is not None:
        bits = [round(BIT * costs[place].bits) for place in kept]
        whole, accent = sum(bits), sum(sorted(bits)[-DEAREST:])
    else:
        lines = slide.window_lines()
        text = SEPARATOR.join(lines[place] for place in kept)
        whole = codec.size_given(text, slide.prepared) if slide.prepared is not None else codec.size(text)
        accent = 65536 * whole // codec.size(text)
    return min(1.0, slide.content.p_value(whole, accent) / SHARES["novelty"])


def _suspicion(window: Window, events: Sequence[Event], known: Mapping[bytes, int]) -> Suspicion:
    suspect = window.suspect
    responsible = b""
    if suspect.template:
        forms = dict.fromkeys(event.masked for event in reversed(events)) | dict.fromkeys(known)
        responsible = next((form for form in forms if template(form) == suspect.template), b"")
    named = {event.instance for event in events if event.instance} if suspect.instance else set()
    return Suspicion(
        question=Question(window.question),
        subject=next((name for name in sorted(named) if instance_number(name) == suspect.instance), ""),
        template=responsible,
        observed=suspect.observed,
        expected=suspect.expected,
        horizon=suspect.horizon,
    )


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
