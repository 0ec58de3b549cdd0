"""What a stream begins with under a profile: empty windows, and no interactions yet."""

from cbad_cy.codelength import Coder
from cbad_cy.slide import Slide
from driftlock.engine.calibration import reference_sizes
from driftlock.engine.event import Signal
from driftlock.engine.interaction import InteractionLimits, Interactions
from driftlock.engine.interaction_key import GroupBy
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile

STATISTICAL = "statistical"


def new_interactions(profile: Profile, limits: Limits) -> Interactions | None:
    """The interactions of a stream under `profile`; None when it says nothing of them."""
    if not profile.group_by:
        return None
    bounds = InteractionLimits(limits.interactions_max, limits.interactions_bytes_max, limits.event_bytes_max)
    return Interactions(GroupBy.parse(profile.group_by), bounds)


def new_slide(profile: Profile, limits: Limits, signal: Signal = Signal.LOGS) -> Slide:
    """The empty window and past of a stream under `profile`.

    A coder keeps counts of its own, and the lines of the past only to name what is usual: it leaves them less room. Lines of
    spans come in the order in which batches of instances were sent, so only what is new in them is asked: how often calls
    come, in which order and from whom is judged where whole traces are (`driftlock.engine.traces`).
    """
    size, block, lag = reference_sizes(profile, limits)
    statistical = profile.codec == STATISTICAL
    return Slide(
        baseline=profile.baseline_size,
        window=profile.window_size,
        hop=profile.hop_size,
        memory=limits.memory_events,
        past_bytes_max=limits.past_bytes_max * 3 // 4 if statistical else limits.past_bytes_max,
        reference=size,
        block=block,
        lag=lag,
        normals=limits.normal_windows_max,
        coder=Coder(bytes_max=limits.coder_bytes_max) if statistical else None,
        content_only=signal is Signal.TRACES,
    )
