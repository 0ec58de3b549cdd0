"""What a stream's fold tells its tenant's: flags, and how far it has come."""

from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.budget import Strength
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.verdict import Suspect

ALERTS_PER_DAY_MAX = PROFILES[DEFAULT_PROFILE].alerts_per_day_max


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding as the tenant sees it: a flagged window, or something else that was found by the time of that window.

    `seq` is the journal row that completed it, `surprise` its strength in bits beyond the floor of p, `alerts_per_day_max`
    the alert budget of its stream by then. `question` is what was found, `service` the text of the stream's key without its
    signal ("" = it stands alone): streams of one service tell one story. `suspects` are the services that may be the cause,
    `trace_ids` (hexadecimal) traces in which it shows.
    """

    stream_id: UUID
    stream: str
    seq: int
    window: int
    start_ns: int
    end_ns: int
    ncd: float
    p_value: float
    finding_id: UUID
    title: str
    historical: bool = False
    surprise: float = 0.0
    alerts_per_day_max: int = ALERTS_PER_DAY_MAX
    question: str = ""
    service: str = ""
    suspects: tuple[Suspect, ...] = ()
    trace_ids: tuple[str, ...] = ()

    @property
    def strength(self) -> Strength:
        """What it is worth where few may alert."""
        return Strength(self.surprise, -self.p_value, self.ncd)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream has come: event-time watermark, windows evaluated, receive time and kind of its newest row.

    `due_ns` is the wall-clock time from which on its silence is worth telling (0 = never), `stream` its key's text,
    `alerts_per_day_max` its alert budget.
    """

    watermark_ns: int
    windows: int
    received_ns: int
    historical: bool = False
    due_ns: int = 0
    stream: str = ""
    alerts_per_day_max: int = ALERTS_PER_DAY_MAX

    @property
    def service(self) -> str:
        """The text of its key without the signal."""
        return self.stream.partition(":")[2]


FLAG_TRACES_MAX = 8
"""So many traces does a flag name."""


@dataclass(slots=True)
class Watch:
    """A stream whose silence is worth telling from `due_ns` on; `told` until it has records again."""

    due_ns: int
    told: bool = False
