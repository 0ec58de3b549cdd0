"""Detection without a server: the same folds, driven in memory by whoever has the records. Pure and synchronous.

The verdicts are those of a server that was given the same records for the same stream keys under the same seed; only ids
that come from the database differ, so here they come from the keys.
"""

from uuid import UUID

from cbad_cy.codec import Codec
from driftlock.engine.detector import Detector, finding_id
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding, Observer, content_id

TENANT_ID = UUID(int=0)
# No record is "from the future": offline there is no receive time that it could be compared with.
RECEIVED_NS = 2**63 - 1


class Offline:
    """All streams of one run under one profile.

    >>> from array import array
    >>> from driftlock.engine.event import Signal
    >>> from driftlock.engine.profile import PROFILES
    >>> run = Offline(PROFILES["balanced"], seed=0, limits=Limits())
    >>> run.take(StreamKey(Signal.LOGS, "app"), RecordBatch(b"hello", array("I", [5]), array("Q", [1])))
    []
    """

    def __init__(self, profile: Profile, *, seed: int, limits: Limits) -> None:
        self._profile, self._seed, self._limits = profile, seed, limits
        self._codec = Codec(profile.codec, profile.level)
        self.detectors: dict[StreamKey, Detector] = {}

    def events_of(self, key: StreamKey) -> int:
        """How many events of a stream have been folded."""
        detector = self.detectors.get(key)
        return 0 if detector is None else detector.events

    def take(self, key: StreamKey, batch: RecordBatch, observer: Observer | None = None) -> list[tuple[UUID, Finding]]:
        """Fold one batch of a stream, which exists from its first batch on; findings with their ids, as made.

        How events are batched changes no verdict. The observer sees every event and window of the batch.
        """
        detector = self.detectors.get(key)
        if detector is None:
            detector = self.detectors[key] = Detector(key, self._profile, self._seed, self._limits)
        findings = detector.fold(batch, RECEIVED_NS, self._codec, observer)
        stream_id = stream_id_of(key)
        return [(finding_id(stream_id, finding.window, finding.interaction), finding) for finding in findings]


def stream_id_of(key: StreamKey) -> UUID:
    """The id under which an offline run knows a stream: a function of its key."""
    return content_id(key.text.encode())
