"""Our detector as the benchmark drives it: through `Offline` and its observer, which is what `driftlock score` prints."""

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Protocol

from cbad_cy.codec import CODECS, Codec
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.offline import Offline
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, Profile, custom
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.verdict import Finding, WindowScore

KEY = StreamKey(Signal.LOGS, "bench")
BALANCED = PROFILES["balanced"]
BATCH_EVENTS = 1000
SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS
PERMUTATIONS = 19  # the least allowed: the permutation test is shown beside a verdict and changes none
LARGEST = 3
TIE_BREAK = 1e-9  # times the largest surprise: below the least difference of two p-values
SURPRISE_MAX = 1000.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One window that ends before event `end`: a score for each of its run's `names` (higher = stranger).

    `flagged` is the detector's own decision, None when it has none; `p_value` likewise.
    """

    end: int
    scores: tuple[float, ...]
    flagged: bool | None = None
    p_value: float | None = None


class Run(Protocol):
    """A detector on one stream."""

    @property
    def names(self) -> tuple[str, ...]:
        """What its scores are called."""
        ...

    def feed(self, lines: Sequence[bytes]) -> list[Judged]:
        """The windows that these lines complete."""
        ...

    def branches(self) -> Callable[[], "Run"]:
        """What gives any number of runs that all continue from here, and leave this one as it is."""
        ...


def profiles(codecs: Sequence[str] = tuple(CODECS)) -> dict[str, Profile]:
    """Our rows: the balanced profile with each codec. Another coder is another entry."""
    return {codec: custom(BALANCED, {"codec": codec, "permutations_max": PERMUTATIONS}) for codec in codecs}


class _Watch:
    """Collects what one feed computes; keeps the newest event bits, because windows overlap."""

    def __init__(self, bits: "deque[int]", keep_events: bool) -> None:
        self.bits, self.judged = bits, list[Judged]()
        self.all_bits: list[int] | None = [] if keep_events else None

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[int]) -> None:  # noqa: ARG002
        """See `Observer`."""
        self.bits.extend(bits)
        if self.all_bits is not None:
            self.all_bits.extend(bits)

    def window(self, score: WindowScore) -> None:
        """See `Observer`."""
        scores = (
            TIE_BREAK * min(score.surprise, SURPRISE_MAX) - score.p_value,
            float(score.bits),
            float(sum(nlargest(LARGEST, self.bits))),
        )
        self.judged.append(Judged(score.last_event + 1, scores, score.flagged, score.p_value))


class Ours:
    """Driftlock on one stream, one event a second.

    Scores: `p` the p-value of the verdict, lower = stranger, and of equal ones the larger distance first; `S` the bits of the
    window; `M3` the sum of its three largest event bits.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.names = tuple(f"driftlock {profile.codec} {score}" for score in ("p", "S", "M3"))
        self.findings: list[Finding] = []
        self._offline = Offline(profile, seed=0, limits=Limits())
        self._codec = Codec(profile.codec, profile.level)
        self._bits: deque[int] = deque(maxlen=profile.window_size)
        self._events = 0

    def feed(self, lines: Sequence[bytes]) -> list[Judged]:
        """See `Run`; findings are collected as well."""
        return self._feed(lines, keep_events=False).judged

    def event_bits(self, lines: Sequence[bytes]) -> list[int]:
        """Bits of each event; up to hop - 1 events at the end belong to no window yet and are left out."""
        return self._feed(lines, keep_events=True).all_bits or []

    def _feed(self, lines: Sequence[bytes], *, keep_events: bool) -> _Watch:
        watch = _Watch(self._bits, keep_events)
        for start in range(0, len(lines), BATCH_EVENTS):
            part = lines[start : start + BATCH_EVENTS]
            first_ns = START_NS + self._events * SECOND_NS
            times = array("Q", range(first_ns, first_ns + len(part) * SECOND_NS, SECOND_NS))
            taken = self._offline.take(KEY, RecordBatch(b"".join(part), array("I", map(len, part)), times), watch)
            self.findings += [finding for _, finding in taken]
            self._events += len(part)
        return watch

    def branches(self) -> Callable[[], "Ours"]:
        """See `Run`: by checkpoint, from which a fold continues as if it had never been interrupted."""
        state, bits, events = stream_state(self._offline.detectors[KEY], self._codec), list(self._bits), self._events

        def branch() -> Ours:
            run = Ours(self.profile)
            run._bits.extend(bits)
            run._events = events
            run._offline.detectors[KEY] = restore_stream(state, KEY, 0, Limits(), self._codec_of)
            return run

        return branch

    def _codec_of(self, profile: Profile) -> Codec:  # noqa: ARG002 - the profile is this run's
        return self._codec


def default_profile() -> Profile:
    """The balanced profile as shipped, with the fewest permutations."""
    return profiles((DEFAULT_CODEC,))[DEFAULT_CODEC]
