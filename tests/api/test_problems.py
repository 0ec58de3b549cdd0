import json

import pytest
from starlette.exceptions import HTTPException

from api.problems import ERRORS_MAX, KINDS, BadMembers, Problem, ProblemMember, problem_of, problem_response
from driftlock import errors
from driftlock.errors import Code, DriftlockError

CONTEXT = {"instance": "/v1/x", "request_id": "r-1"}
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, DriftlockError) and value is not DriftlockError
]


def test_every_code_has_a_status_and_a_title() -> None:
    assert set(KINDS) == set(Code)
    assert all(400 <= kind.status < 600 and kind.title for kind in KINDS.values())


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_error_becomes_a_problem_with_its_code_and_status(error_class: type[DriftlockError]) -> None:
    problem, _ = problem_of(error_class("what to do"), **CONTEXT)
    assert problem.code is error_class.code
    assert problem.status == KINDS[error_class.code].status
    assert problem.type == f"urn:driftlock:problem:{error_class.code.value}"
    assert (problem.instance, problem.request_id) == ("/v1/x", "r-1")


@pytest.mark.parametrize(
    "error", [ValueError("secret"), errors.Internal("secret"), KeyError("secret"), DriftlockError("secret")]
)
def test_internals_stay_inside(error: Exception) -> None:
    response = problem_response(error, **CONTEXT)
    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)
    assert Problem.model_validate_json(bytes(response.body)).code is Code.INTERNAL


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (errors.Unavailable("full", retry_after_ms=2500), "3"),
        (errors.Unavailable("full", retry_after_ms=1), "1"),
        (errors.Unavailable("full", retry_after_ms=0), "1"),
        (errors.Unavailable("full"), "1"),
        (errors.RateLimited("slow down", retry_after_ms=60_000), "60"),
        (errors.QuotaExhausted("used up"), None),
        (errors.InvalidArgument("wrong"), None),
    ],
)
def test_retry_after_is_for_what_can_be_retried(error: DriftlockError, retry_after: str | None) -> None:
    _, headers = problem_of(error, **CONTEXT)
    assert headers.get("Retry-After") == retry_after


def test_a_pointer_becomes_a_member() -> None:
    problem, _ = problem_of(errors.PayloadTooLarge("too many", pointer="/events"), **CONTEXT)
    assert problem.errors == (ProblemMember(detail="too many", pointer="/events"),)


def test_wrong_members_are_listed_up_to_a_limit() -> None:
    members = [ProblemMember(detail="is wrong", pointer=f"/events/{index}") for index in range(ERRORS_MAX + 5)]
    problem, _ = problem_of(BadMembers(members), **CONTEXT)
    assert problem.detail == "/events/0: is wrong"
    assert list(problem.errors) == members[:ERRORS_MAX]


def test_unauthorised_says_how_and_timeouts_close() -> None:
    assert "Bearer" in problem_of(errors.Unauthenticated("no"), **CONTEXT)[1]["WWW-Authenticate"]
    assert problem_of(HTTPException(408, "slow"), **CONTEXT)[1]["Connection"] == "close"
    assert "Connection" not in problem_of(errors.PayloadTooLarge("big"), **CONTEXT)[1]


def test_the_body_has_the_media_type_and_no_empty_members() -> None:
    response = problem_response(errors.NotFound("nothing here"), **CONTEXT)
    assert response.headers["Content-Type"] == "application/problem+json"
    body = json.loads(bytes(response.body))
    assert body["status"] == 404
    assert body["errors"] == []
    assert None not in body.values()
