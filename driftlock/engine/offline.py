"""Detection without a server: the same folds, driven in memory by whoever has the records. Pure and synchronous.

The verdicts are those of a server that was given the same records for the same stream keys under the same seed; only ids
that come from the database differ, so here they come from the keys.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from cbad_cy.codec import Codec
from driftlock.engine.correlate import Correlator, Flag, Progress
from driftlock.engine.detector import Detector, finding_id
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding, Observer, content_id

TENANT_ID = UUID(int=0)
# No record is "from the future": offline there is no receive time that it could be compared with.
RECEIVED_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What one batch brought: findings with their ids, oldest window first, and the incidents that changed."""

    findings: tuple[tuple[UUID, Finding], ...]
    incidents: tuple[IncidentRow, ...]


class Offline:
    """All streams of one run. `observers` are asked for by stream key; None watches nothing.

    >>> from array import array
    >>> from driftlock.engine.event import Signal
    >>> from driftlock.engine.profile import PROFILES
    >>> run = Offline(PROFILES["balanced"], seed=0, limits=Limits())
    >>> run.take(StreamKey(Signal.LOGS, "app"), RecordBatch(b"hello", array("I", [5]), array("Q", [1])))
    Taken(findings=(), incidents=())
    """

    def __init__(self, profile: Profile, *, seed: int, limits: Limits) -> None:
        self._profile, self._seed, self._limits = profile, seed, limits
        self._codec = Codec(profile.codec, profile.level)
        self._correlator = Correlator(TENANT_ID, limits)
        self._positions = 0
        self.detectors: dict[StreamKey, Detector] = {}

    @property
    def codec(self) -> Codec:
        """The codec that measures everything here."""
        return self._codec

    def take(self, key: StreamKey, batch: RecordBatch, observer: Observer | None = None) -> Taken:
        """Fold one batch of a stream, which exists from its first batch on; how events are batched changes no verdict."""
        detector = self.detectors.get(key)
        if detector is None:
            detector = self.detectors[key] = Detector(key, self._profile, self._seed, self._limits)
        self._positions += 1
        findings = detector.fold(batch, RECEIVED_NS, self._codec, observer)
        stream_id = stream_id_of(key)
        numbered = tuple((finding_id(stream_id, finding.window), finding) for finding in findings)
        flags = [self._flag(stream_id, number, finding) for number, finding in numbered]
        progress = Progress(detector.clock.watermark_ns, detector.windows, RECEIVED_NS, historical=True)
        return Taken(numbered, tuple(self._correlator.derived(stream_id, progress, flags)))

    def finish(self) -> tuple[IncidentRow, ...]:
        """Incidents that changed because the input has ended: every flag is taken, whatever its bucket."""
        return tuple(self._correlator.clock(RECEIVED_NS))

    def _flag(self, stream_id: UUID, number: UUID, finding: Finding) -> Flag:
        return Flag(
            stream_id=stream_id,
            stream=finding.stream,
            seq=self._positions,
            window=finding.window,
            start_ns=finding.start_ns,
            end_ns=finding.end_ns,
            ncd=finding.ncd,
            p_value=finding.p_value,
            finding_id=number,
            title=finding.explanation,
            historical=True,
        )


def stream_id_of(key: StreamKey) -> UUID:
    """The id under which an offline run knows a stream: a function of its key."""
    return content_id(key.text.encode())


def latest_incidents(changes: Iterable[IncidentRow]) -> Mapping[UUID, IncidentRow]:
    """The last form of every incident, in the order of their first appearance."""
    return {row.incident.incident_id: row for row in changes}
