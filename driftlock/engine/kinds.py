"""Which fold a stream has, by its key, and how each kind is made, stored and read back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from cbad_cy.codec import CODECS, Codec
from driftlock.engine.detector import Detector, finding_id
from driftlock.engine.drift_finding import drift_finding_id
from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey
from driftlock.engine.fold import GraphEdge, StreamFold
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.finding import series_finding_id
from driftlock.engine.numbers.state import number_state, restore_numbers
from driftlock.engine.ports import Checkpoint
from driftlock.engine.profile import Profile
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.finding import trace_finding_id
from driftlock.engine.traces.state import restore_traces, trace_state
from driftlock.engine.verdict import NUMERIC, TRACED, Finding, Question
from driftlock.errors import Internal


@dataclass(frozen=True, slots=True)
class Saved:
    """The checkpoint of a stream fold with the states of its series that changed, and those that are forgotten.

    `graph` is the service graph of a stream of traces, None of others.
    """

    checkpoint: Checkpoint
    series: Mapping[int, bytes] = field(default_factory=dict)
    forgotten: tuple[int, ...] = ()
    graph: tuple[GraphEdge, ...] | None = None


class Kinds:
    """Makes folds of one seed under the same limits. Its compression contexts are for one thread at a time."""

    def __init__(self, seed: int, limits: Limits) -> None:
        self._seed = seed
        self._limits = limits
        self._codecs: dict[tuple[str, int], Codec] = {}

    def codec(self, profile: Profile) -> Codec:
        """Contexts for a profile's codec and level; there are as many as a codec has levels, at most."""
        return self.codec_of(profile.codec, profile.level)

    def codec_of(self, name: str, level: int) -> Codec:
        """The same by name and level; 0 is the codec's own default."""
        named = name, level or CODECS[name].level
        if named not in self._codecs:
            self._codecs[named] = Codec(*named)
        return self._codecs[named]

    def restored(self, state: bytes, key: StreamKey, *, anew: bool = False) -> StreamFold:
        """The fold that was stored; with `anew` all but its counts and its clock is forgotten. Raises `Damaged`."""
        if key.signal is Signal.METRICS:
            return restore_numbers(state, key, self._seed, self._limits, anew=anew)
        if _of_traces(key):
            return restore_traces(state, key, self._seed, self._limits, anew=anew)
        return restore_stream(state, key, self._seed, self._limits, self.codec, anew=anew)

    def anew(self, fold: StreamFold) -> StreamFold:
        """What is left of a fold when other versions take over: it goes on counting, and learns anew."""
        return self.restored(self._state(fold), fold.key, anew=True)

    def fresh(self, key: StreamKey, profile: Profile) -> StreamFold:
        """A fold without a past."""
        if key.signal is Signal.METRICS:
            return NumberDetector(key, profile, self._seed, self._limits)
        if _of_traces(key):
            return TraceDetector(key, profile, self._seed, self._limits)
        return Detector(key, profile, self._seed, self._limits)

    def saved(self, fold: StreamFold, seq: int) -> Saved:
        """What is stored of a fold that has taken the row `seq`; it lets go of series beyond what it may hold."""
        if isinstance(fold, NumberDetector):
            series, forgotten = fold.unsaved(), fold.forgotten()
            saved = Saved(Checkpoint(seq, self._state(fold)), series, forgotten)
            fold.evict(self._limits.series_resident_max)
            return saved
        graph = tuple(fold.graph()) if isinstance(fold, TraceDetector) else None
        return Saved(Checkpoint(seq, self._state(fold)), graph=graph)

    def _state(self, fold: StreamFold) -> bytes:
        if isinstance(fold, NumberDetector):
            return number_state(fold)
        if isinstance(fold, TraceDetector):
            return trace_state(fold)
        if not isinstance(fold, Detector):
            raise Internal(f"no way is known to store a {type(fold).__name__}")
        return stream_state(fold, self.codec(fold.profile))


def identity(stream_id: UUID, finding: Finding) -> UUID:
    """The id of any finding: the same on every replay, and as hard to guess as its stream's."""
    if finding.question in NUMERIC:
        return series_finding_id(stream_id, finding)
    if finding.question in TRACED:
        return trace_finding_id(stream_id, finding)
    if finding.question is Question.DRIFT:
        return drift_finding_id(stream_id, finding)
    return finding_id(stream_id, finding.window, finding.interaction)


def _of_traces(key: StreamKey) -> bool:
    return key.signal is Signal.TRACES and key.service == TRACES_SERVICE
