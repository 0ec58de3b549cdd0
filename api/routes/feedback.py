"""Feedback on anomalies: one verdict each, which may teach the stream that the same is no reason for an alarm."""

from uuid import UUID

from api import views
from api.endpoint import Call, Endpoint, Reply
from api.feedback_models import Feedback, FeedbackPreview, FeedbackRequest, FeedbackResult
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import event_time, ns_of_datetime, parse_rfc3339, rfc3339
from api.routes.streams import parse_uuid
from api.tuning_ports import PREVIEW_DAYS_MAX, FeedbackRow, Opinion, Preview
from driftlock.accounts.keys import Role, Scope
from driftlock.engine.lessons import LESSON_DAYS_MAX, Verdict
from driftlock.engine.tuning import DAY_NS
from driftlock.errors import Code, NotFound

PATH = "/v1/anomalies/{anomaly_id}/feedback"
PATH_PARAMETERS = {"anomaly_id": "Id of the anomaly."}
PREVIEW_SHOWN_MAX = 50
"""Anomalies that a preview names of each kind."""

NO_ANOMALY = "there is no anomaly with this id; GET /v1/anomalies lists yours"
NO_FEEDBACK = "nothing was said of this anomaly; POST says something"


async def get_feedback(call: Call) -> Reply:
    """What was said of an anomaly."""
    row = await call.deps.feedback.get(call.principal.tenant_id, _anomaly_id(call, NO_FEEDBACK))
    if row is None:
        raise NotFound(NO_FEEDBACK)
    return Reply(_feedback(row))


async def give_feedback(call: Call) -> Reply:
    """Say something of an anomaly, in place of what was said before; or only what that would change."""
    asked, anomaly_id = call.body(FeedbackRequest), _anomaly_id(call, NO_ANOMALY)
    verdict = Verdict(asked.verdict)
    opinion = Opinion(verdict, _until_ns(asked, verdict, call.deps.now_ns()), asked.note)
    tenant_id, feedback = call.principal.tenant_id, call.deps.feedback
    if asked.preview:
        return Reply(FeedbackResult(feedback=None, preview=_preview(await feedback.preview(tenant_id, anomaly_id, opinion))))
    given = await feedback.give(tenant_id, anomaly_id, opinion, call.actor)
    return Reply(FeedbackResult(feedback=_feedback(given), preview=None))


async def withdraw_feedback(call: Call) -> Reply:
    """Take back what was said: what happened stays as it was told, what comes is told again."""
    if not await call.deps.feedback.withdraw(call.principal.tenant_id, _anomaly_id(call, NO_FEEDBACK), call.actor):
        raise NotFound(NO_FEEDBACK)
    return Reply(None, status=204)


def _anomaly_id(call: Call, otherwise: str) -> UUID:
    anomaly_id = parse_uuid(call.path("anomaly_id"))
    if anomaly_id is None:
        raise NotFound(otherwise)
    return anomaly_id


def _until_ns(asked: FeedbackRequest, verdict: Verdict, now_ns: int) -> int:
    """When it ends, 0 = never; raise `BadMembers` for a time that makes no sense."""
    if "until" not in asked.model_fields_set:
        return 0
    until_ns = parse_rfc3339(asked.until)
    detail = ""
    if verdict is Verdict.CONFIRMED:
        detail = "does nothing with `confirmed`, from which a stream does not learn; leave it out"
    elif until_ns <= now_ns:
        detail = f"is in the past: it is {rfc3339(now_ns)} now"
    elif until_ns > now_ns + LESSON_DAYS_MAX * DAY_NS:
        detail = f"is more than {LESSON_DAYS_MAX} days ahead (lesson_days_max); leave it out to say it for good"
    if detail:
        raise BadMembers([ProblemMember(detail=detail, pointer="/until")])
    return until_ns


def _feedback(row: FeedbackRow) -> Feedback:
    return Feedback(
        anomaly_id=row.anomaly_id,
        stream_id=row.stream_id,
        verdict=row.opinion.verdict.value,
        until=event_time(row.opinion.until_ns),
        note=row.opinion.note,
        taught=row.taught,
        given_at=rfc3339(ns_of_datetime(row.given_at)),
        given_by=row.given_by,
    )


def _preview(preview: Preview) -> FeedbackPreview:
    return FeedbackPreview(
        teaches=preview.learns,
        silences=tuple(views.anomaly_summary(row) for row in preview.silences[:PREVIEW_SHOWN_MAX]),
        silences_total=len(preview.silences),
        brings_back=tuple(views.anomaly_summary(row) for row in preview.brings_back[:PREVIEW_SHOWN_MAX]),
        brings_back_total=len(preview.brings_back),
        examined=preview.examined,
        days=PREVIEW_DAYS_MAX,
        cut=preview.cut,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "getFeedback",
        "feedback",
        "What was said of an anomaly",
        get_feedback,
        {200: Feedback},
        scope=Scope.READ,
        path_parameters=PATH_PARAMETERS,
    ),
    Endpoint(
        "POST",
        PATH,
        "giveFeedback",
        "feedback",
        "Say whether an anomaly was worth telling, or see first what that would change",
        give_feedback,
        {200: FeedbackResult},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=FeedbackRequest,
        path_parameters=PATH_PARAMETERS,
        problems=(Code.CONFLICT,),
        idempotent=True,
    ),
    Endpoint(
        "DELETE",
        PATH,
        "withdrawFeedback",
        "feedback",
        "Take back what was said of an anomaly",
        withdraw_feedback,
        {204: None},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        path_parameters=PATH_PARAMETERS,
    ),
)
