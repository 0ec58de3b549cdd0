"""`GET /v1/streams/{id}/scores`: how a stream was scored over time, for a chart."""

from pydantic import Field

from api import score_models, views
from api.endpoint import Call, Endpoint, Query, Reply
from api.ports import AnomalyFilter, AnomalyRow, StreamRow
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import event_time, rfc3339
from api.routes.streams import find_stream
from api.times import Time, moment
from driftlock.accounts.keys import Scope
from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.scores import SCORE_MINUTES_MAX, MinuteScore
from driftlock.storage.scores import POINTS_MAX

MINUTE_S = 60
DAY_MINUTES = 24 * 60
STEPS_MINUTES = (1, 5, 15, 60, 360, 1440)
"""Steps that are chosen where none is given."""
POINTS_WANTED_MAX = 500


class ScoreQuery(Query):
    """Which time, and how fine."""

    since: Time | None = Field(default=None, description="Event time from which on; a day before `until` unless told.")
    until: Time | None = Field(default=None, description="Event time before which; the stream's newest minute unless told.")
    step: int | None = Field(
        default=None,
        ge=MINUTE_S,
        le=DAY_MINUTES * MINUTE_S,
        multiple_of=MINUTE_S,
        description="Length of a part in seconds, whole minutes; chosen for at most 500 parts unless told. At most 1,500.",
    )


async def get_scores(call: Call) -> Reply:
    """The scores of a stream, with the thresholds and the findings in that time."""
    deps, tenant_id, query = call.deps, call.principal.tenant_id, call.query(ScoreQuery)
    stream = await find_stream(deps, tenant_id, call.path("stream"))
    since, until = _range(query, stream, deps.now_ns())
    step = _step(query, until - since)
    since -= since % step  # parts are whole
    points = await deps.views.scores.list(
        tenant_id, stream.stream_id, since_minute=since, until_minute=until, step_minutes=step
    )
    limit = deps.limits.score_findings_max
    filters = AnomalyFilter(stream_id=stream.stream_id, since=since * MINUTE_NS, until=until * MINUTE_NS)
    findings = await deps.anomalies.list(tenant_id, filters, limit=limit, after=None)
    return Reply(
        score_models.ScoreSeries(
            stream=views.stream_ref(stream),
            since=rfc3339(since * MINUTE_NS),
            until=rfc3339(until * MINUTE_NS),
            step_seconds=step * MINUTE_S,
            points=tuple(map(_point, points)),
            thresholds=score_models.ScoreThresholds(ncd=stream.profile.ncd_threshold, p_value=stream.profile.p_value_threshold),
            findings=tuple(map(_finding, findings)),
            findings_truncated=len(findings) == limit,
        )
    )


def _range(query: ScoreQuery, stream: StreamRow, now_ns: int) -> tuple[int, int]:
    """First minute, and the one after the last."""
    until_ns = moment(query.until)
    newest = (stream.last_event_ns or now_ns) // MINUTE_NS
    until = newest + 1 if until_ns is None else -(-until_ns // MINUTE_NS)
    since_ns = moment(query.since)
    since = max(0, until - DAY_MINUTES) if since_ns is None else since_ns // MINUTE_NS
    if not 0 <= since < until:
        raise BadMembers([ProblemMember(detail="is not before `until`, or before 1970", parameter="since")])
    # What is older is not kept, and points of the far future would only cost room.
    return max(since, min(until - 1, newest - SCORE_MINUTES_MAX)), max(min(until, newest + DAY_MINUTES), since + 1)


def _step(query: ScoreQuery, minutes: int) -> int:
    """Minutes of a part."""
    if query.step is None:
        return next((step for step in STEPS_MINUTES if minutes <= POINTS_WANTED_MAX * step), STEPS_MINUTES[-1])
    step = query.step // MINUTE_S
    if minutes > (POINTS_MAX - 1) * step:
        raise BadMembers([ProblemMember(detail=f"gives more than {POINTS_MAX} points (points_max)", parameter="step")])
    return step


def _point(score: MinuteScore) -> score_models.ScorePoint:
    return score_models.ScorePoint(
        time=rfc3339(score.minute * MINUTE_NS),
        events=score.events,
        windows=score.windows,
        flagged=score.flagged,
        surprise_max=score.surprise_max,
        ncd_max=score.ncd_max,
        p_value_min=score.p_value_min,
    )


def _finding(row: AnomalyRow) -> score_models.ScoredFinding:
    finding = row.finding
    return score_models.ScoredFinding(
        id=row.anomaly_id,
        start=event_time(finding.start_ns),
        end=event_time(finding.end_ns),
        question=finding.question,
        surprise=finding.surprise,
        ncd=finding.ncd,
        p_value=finding.p_value,
        incident_id=row.incident_id,
        explanation=finding.explanation,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/streams/{stream}/scores",
        "getScores",
        "streams",
        "How a stream was scored over time, with thresholds and findings",
        get_scores,
        {200: score_models.ScoreSeries},
        scope=Scope.READ,
        query=ScoreQuery,
        path_parameters={"stream": "Id or slug of the stream."},
    ),
)
