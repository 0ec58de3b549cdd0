"""Releases of a service, and what changed from one to the other."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from api import diff_models, views
from api.endpoint import Call, Endpoint, Reply
from api.models import StreamRef
from api.ports import StreamRow
from api.problems import BadMembers, ProblemMember
from api.reading import Between, between, reading
from api.rfc3339 import event_time, rfc3339
from api.routes.streams import find_stream
from driftlock.accounts.keys import Scope
from driftlock.engine.releases.attribute import ATTRIBUTE_BYTES_MAX, VALUE_BYTES_MAX, VERSION_ATTRIBUTE
from driftlock.engine.releases.diff import ChangeKind, ReleaseDiff, Side
from driftlock.errors import Code, NotFound
from driftlock.storage.excerpts import Scan

PATH_PARAMETERS = {"stream": "Id or slug of the stream."}
RELEASES_NAMED_MAX = 5
PROBLEMS = (Code.RATE_LIMITED, Code.UNAVAILABLE)


def _attribute(text: str) -> str:
    if len(text.encode()) > ATTRIBUTE_BYTES_MAX or not text.isprintable() or not set(" =").isdisjoint(text):
        raise ValueError(f"an attribute's name has at most {ATTRIBUTE_BYTES_MAX} bytes, none of them a space or =")
    return text


def _value(text: str) -> str:
    if len(text.encode()) > VALUE_BYTES_MAX:
        raise ValueError(f"values of at most {VALUE_BYTES_MAX} bytes are told apart")
    return text


Attribute = Annotated[str, AfterValidator(_attribute), Field(min_length=1)]
Value = Annotated[str, AfterValidator(_value), Field(min_length=1)]
_ATTRIBUTE_WORDS = "The attribute that tells releases apart, as records have it; `service.version` unless told."


class ReleasesQuery(Between):
    """Which releases to list."""

    attribute: Attribute = Field(default=VERSION_ATTRIBUTE, description=_ATTRIBUTE_WORDS)


class DiffQuery(Between):
    """Which releases to compare."""

    from_value: Value = Field(alias="from", description="The value of the older release.")
    to_value: Value = Field(alias="to", description="The value of the newer release.")
    attribute: Attribute = Field(default=VERSION_ATTRIBUTE, description=_ATTRIBUTE_WORDS)


async def list_releases(call: Call) -> Reply:
    """The values of an attribute in what the journal holds of a stream."""
    query, tenant_id = call.query(ReleasesQuery), call.principal.tenant_id
    since_ns, until_ns = between(query.since, query.until)
    stream = await find_stream(call.deps, tenant_id, call.path("stream"))
    found, seen, scan = await call.deps.readback.releases(tenant_id, stream, query.attribute, since_ns, until_ns)
    return Reply(
        diff_models.ReleaseList(
            stream=views.stream_ref(stream),
            attribute=query.attribute,
            releases=tuple(
                diff_models.Release(
                    value=it.value.decode("utf-8", "replace"),
                    records=it.records,
                    first=rfc3339(it.first_ns),
                    last=rfc3339(it.last_ns),
                )
                for it in found
            ),
            records_without=seen.without,
            records_omitted=seen.omitted,
            reading=reading(scan),
        )
    )


async def diff_releases(call: Call) -> Reply:
    """What the lines of one release say that those of another did not."""
    query, tenant_id = call.query(DiffQuery), call.principal.tenant_id
    since_ns, until_ns = between(query.since, query.until)
    old, new = query.from_value, query.to_value
    if old == new:
        raise BadMembers([ProblemMember(detail="is the same as from; choose two values", parameter="to")])
    stream = await find_stream(call.deps, tenant_id, call.path("stream"))
    found, scan = await call.deps.readback.diff(tenant_id, stream, query.attribute, old, new, since_ns, until_ns)
    missing = [value for value, side in ((old, found.old), (new, found.new)) if not side.lines]
    if missing:
        await _check_known(call, stream, query.attribute, missing)
    return Reply(_diff(views.stream_ref(stream), query, found, scan))


async def _check_known(call: Call, stream: StreamRow, attribute: str, values: Sequence[str]) -> None:
    """Raise `NotFound` where the journal knows nothing of a release, whenever its records came; it names those it knows."""
    tenant_id = call.principal.tenant_id
    releases, seen, scan = await call.deps.readback.releases(tenant_id, stream, attribute, since_ns=None, until_ns=None)
    known = [it.value.decode("utf-8", "replace") for it in releases]
    unknown = [value for value in values if value not in known]
    if not unknown:
        return
    if scan.held_since_ns is None:
        raise NotFound("the journal holds no records of this stream (any more), so there is nothing to compare")
    named = " and ".join(map(repr, unknown))
    text = f"no record that was read has {attribute} {named}"
    if scan.cut or seen.omitted:
        text += "; the journal holds more than was read: narrow it with since and until"
    if not known:
        raise NotFound(f"{text}; none has any value of {attribute}: choose another attribute, or send it")
    first = ", ".join(map(repr, known[:RELEASES_NAMED_MAX]))
    more = f" and {len(known) - RELEASES_NAMED_MAX} more, see GET .../releases" if len(known) > RELEASES_NAMED_MAX else ""
    raise NotFound(f"{text}; known, the newest first: {first}{more}")


def _diff(stream: StreamRef, query: DiffQuery, found: ReleaseDiff, scan: Scan) -> diff_models.ReleaseDiff:
    changes = tuple(
        diff_models.LineChange(
            kind=it.kind,
            text=it.text,
            count_from=it.count_from,
            count_to=it.count_to,
            share_from=it.share_from,
            share_to=it.share_to,
            p_value=it.p_value,
            significant=it.significant,
            spans=it.spans,
            nearest=it.nearest or None,
            bits=it.bits,
        )
        for it in found.changes
    )
    return diff_models.ReleaseDiff(
        stream=stream,
        attribute=query.attribute,
        from_release=_side(query.from_value, found.old),
        to_release=_side(query.to_value, found.new),
        changes=changes,
        totals=diff_models.ChangeTotals(**{kind.value: found.totals[kind] for kind in ChangeKind}),
        tests=found.tests,
        unseen_share=found.unseen_share,
        unseen_share_expected=found.unseen_share_expected,
        bits_per_line=found.bits_per_line,
        bits_per_line_within=found.bits_per_line_within,
        reading=reading(scan),
    )


def _side(value: str, side: Side) -> diff_models.ReleaseSide:
    first, last = event_time(side.first_ns), event_time(side.last_ns)
    return diff_models.ReleaseSide(value=value, lines=side.lines, forms=side.kinds, first=first, last=last)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/streams/{stream}/releases",
        "listReleases",
        "releases",
        "The releases of a service that the journal holds records of",
        list_releases,
        {200: diff_models.ReleaseList},
        scope=Scope.READ,
        query=ReleasesQuery,
        path_parameters=PATH_PARAMETERS,
        problems=PROBLEMS,
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/diff",
        "diffReleases",
        "releases",
        "What changed from one release to another: lines that are new, gone, or much more or less frequent",
        diff_releases,
        {200: diff_models.ReleaseDiff},
        scope=Scope.READ,
        query=DiffQuery,
        path_parameters=PATH_PARAMETERS,
        problems=PROBLEMS,
    ),
)
