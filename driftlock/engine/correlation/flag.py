"""What a stream's fold tells its tenant's: flags, and how far it has come."""

import re
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.correlation.budget import Strength
from driftlock.engine.event import TRACES_SERVICE, Signal
from driftlock.engine.evidence import Suspect
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.verdict import Finding, Question

ALERTS_PER_DAY_MAX = PROFILES[DEFAULT_PROFILE].alerts_per_day_max

FLAG_TRACES_MAX = 8
"""So many traces does a flag name."""

FLAG_SUSPECTS_MAX = 5
"""So many of a finding's suspects are taken for involved: those after them are hardly more than neighbours."""

FINDING_TRACES_MAX = 32
"""By so many traces a stored finding can be found."""

TRACE_ID = re.compile(r"[0-9a-f]{32}")
NO_TRACE = "0" * 32


def spans_services(stream: str) -> bool:
    """Whether a stream, by its key's text, holds the traces of many services, so that its findings are not those of one.

    >>> spans_services("traces:_traces@prod"), spans_services("traces:checkout@prod")
    (True, False)
    """
    return stream.partition("@")[0] == f"{Signal.TRACES}:{TRACES_SERVICE}"


def traces_of(finding: Finding) -> tuple[str, ...]:
    """The traces (hexadecimal) that a finding names, each once.

    First its examples, then the interaction that it is about, if that is a trace, then those of its lines in their order.
    """
    is_interaction = finding.question is Question.INTERACTION and TRACE_ID.fullmatch(finding.subject)
    named = (
        *(example.trace_id for example in finding.examples),
        *((finding.subject,) if is_interaction else ()),
        *(line.trace_id for line in finding.lines),
    )
    known = dict.fromkeys(trace_id for trace_id in named if trace_id and trace_id != NO_TRACE)
    return tuple(known)[:FINDING_TRACES_MAX]


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding as the tenant sees it: a flagged window, or something else that was found by the time of that window.

    `seq` is the journal row that completed it, `surprise` its strength in bits beyond the floor of p, `alerts_per_day_max`
    the alert budget of its stream by then. `question` is what was found, `service` the text of the stream's key without its
    signal ("" = it stands alone): streams of one service tell one story. `suspects` are the services that may be the cause,
    the most probable first, `trace_ids` (hexadecimal) traces in which it shows.
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

    @property
    def across(self) -> bool:
        """Whether it is of a stream of many services' traces, whose findings have nothing in common but that."""
        return spans_services(self.stream)

    @property
    def blamed(self) -> tuple[Suspect, ...]:
        """The suspects that count."""
        return self.suspects[:FLAG_SUSPECTS_MAX]

    @property
    def services(self) -> tuple[str, ...]:
        """The services that it involves: whose stream it is, and the suspects that count."""
        own = (self.service,) if self.service and not (self.across and self.suspects) else ()
        return tuple(dict.fromkeys((*own, *(suspect.service for suspect in self.blamed))))

    @property
    def named_traces(self) -> tuple[str, ...]:
        """The traces that count."""
        return self.trace_ids[:FLAG_TRACES_MAX]

    @property
    def names(self) -> tuple[str, ...]:
        """The services and the traces by which it may join an incident; none if it stands alone."""
        return (*self.services, *self.named_traces) if self.services else ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream has come: event-time watermark, windows evaluated, receive time and kind of its newest row.

    `due_ns` is the wall-clock time from which on its silence is worth telling (0 = never), `stream` its key's text,
    `alerts_per_day_max` its alert budget. From `closes_ns` on (wall clock, 0 = never) it has to be told the time.
    """

    watermark_ns: int
    windows: int
    received_ns: int
    historical: bool = False
    due_ns: int = 0
    stream: str = ""
    alerts_per_day_max: int = ALERTS_PER_DAY_MAX
    closes_ns: int = 0

    @property
    def service(self) -> str:
        """The text of its key without the signal."""
        return self.stream.partition(":")[2]

    @property
    def across(self) -> bool:
        """Whether the stream holds the traces of many services, so that its flags may be about any of them."""
        return spans_services(self.stream)


@dataclass(slots=True)
class Watch:
    """A stream whose silence is worth telling from `due_ns` on; `told` until it has records again.

    `remote`: another shard has the stream, and asks it.
    """

    due_ns: int
    told: bool = False
    remote: bool = False
