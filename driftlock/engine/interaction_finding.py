"""From a verdict about an interaction to a finding."""

from cbad_cy.codec import Codec
from driftlock.engine.findings import Context
from driftlock.engine.interaction import InteractionVerdict
from driftlock.engine.verdict import OF_NO_WINDOW, Calibration, Evidence, Finding, MissingLine, NovelLine, Question

HALF_BITS = 16.0
"""So many bits above usual are the effect 1/2."""


def interaction_finding(verdict: InteractionVerdict, window: int, number: int, codec: Codec, context: Context) -> Finding:
    """The finding of the `number`-th interaction of a stream that alarmed, judged when `window` was the newest.

    Where nothing can be compared yet there is no alarm, so its calibration is `ok`. What a finding says of a window is neutral;
    the effect is b / (b + `HALF_BITS`) for b bits above usual.
    """
    effect = verdict.bits / (verdict.bits + HALF_BITS)
    return Finding(
        **OF_NO_WINDOW,
        stream=context.stream,
        window=window,
        first_event=verdict.first_event,
        last_event=verdict.at_event,
        start_ns=verdict.start_ns,
        end_ns=max(verdict.end_ns, verdict.at_ns),
        ncd=effect,
        ncd_threshold=context.ncd_threshold,
        ncd_classical=effect,
        p_value=verdict.p_value,
        p_value_threshold=context.p_value_threshold,
        confidence=verdict.confidence,
        profile=context.profile.name,
        calibration=Calibration.OK,
        codec=codec.name,
        codec_level=codec.level,
        codec_version=codec.version,
        seed=context.seed,
        receive_timed=context.receive_timed,
        explanation=f"{verdict.sentence}.",
        lines=tuple(
            NovelLine(
                event=verdict.last_event,
                time_ns=verdict.end_ns,
                text=line.text,
                spans=(),
                cost_bytes=-(-int(line.bits) // 8),
                bits=line.bits,
                share=min(1.0, line.bits / verdict.bits) if verdict.bits > 0 else 0.0,
            )
            for line in verdict.present
        ),
        question=Question.INTERACTION,
        surprise=verdict.bits,
        evidence=(Evidence(Question.INTERACTION, verdict.p_value, effect, verdict.bits),),
        subject=verdict.key,
        missing=tuple(MissingLine(line.text, 1.0, 0.0, verdict.events) for line in verdict.missing),
        interaction=number,
        calibration_reason="enough interactions of this age have been seen",
    )
