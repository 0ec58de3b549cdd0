"""Queries that read the journal back: between which times, and what of it was read."""

from pydantic import Field

from api.body import Body
from api.endpoint import Query
from api.evidence_models import Timestamp
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import parse_rfc3339, rfc3339
from api.times import Time
from driftlock.storage.excerpts import Scan


class Reading(Body):
    """What of the journal was read. Times are those of receiving."""

    held_since: Timestamp | None = Field(
        description="The journal holds records of this stream that were received since then; null where it holds none."
    )
    read_since: Timestamp | None = Field(description="When the oldest records that were read had been received.")
    read_until: Timestamp | None = Field(description="When the newest records that were read had been received.")
    records: int = Field(description="Records that were read.")
    cut: bool = Field(description="There are more between these times: a limit ended the reading.")
    damaged_rows: int = Field(description="Rows of the journal that could not be read, and were left out.")


def reading(scan: Scan) -> Reading:
    """What was read, as clients see it."""
    return Reading(
        held_since=_moment(scan.held_since_ns),
        read_since=_moment(scan.first_ns),
        read_until=_moment(scan.last_ns),
        records=scan.records,
        cut=scan.cut or scan.enough,
        damaged_rows=scan.damaged_rows,
    )


class Between(Query):
    """Two times; each may be left out."""

    since: Time | None = Field(default=None, description="Only records received at this time or later.")
    until: Time | None = Field(default=None, description="Only records received before this time.")


def between(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """Both in ns; raise `BadMembers` where nothing lies between them."""
    times = tuple(None if text is None else max(0, parse_rfc3339(text)) for text in (since, until))
    if times[0] is not None and times[1] is not None and times[0] >= times[1]:
        raise BadMembers([ProblemMember(detail="is not after since", parameter="until")])
    return times[0], times[1]


def _moment(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)
