"""A client of the Driftlock API: typed, with asyncio and without, with retries, pages, the live feed and a logging handler."""

from driftlock_client import models
from driftlock_client.client import AsyncClient, Client
from driftlock_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    ConnectionFailed,
    DriftlockError,
    Forbidden,
    NotFound,
    OperationPending,
    PreconditionFailed,
    ProblemMember,
    RateLimited,
    ServerError,
    Unauthorized,
    UnexpectedAnswer,
)
from driftlock_client.live import LiveEvent
from driftlock_client.logging_handler import DriftlockHandler
from driftlock_client.outbox import OutboxLimits
from driftlock_client.retry import Retry
from driftlock_client.values import UNSET, AnswerInfo, Content, answer_of
from driftlock_client.version import VERSION

__all__ = [
    "UNSET",
    "VERSION",
    "AnswerInfo",
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Content",
    "DriftlockError",
    "DriftlockHandler",
    "Forbidden",
    "LiveEvent",
    "NotFound",
    "OperationPending",
    "OutboxLimits",
    "PreconditionFailed",
    "ProblemMember",
    "RateLimited",
    "Retry",
    "ServerError",
    "Unauthorized",
    "UnexpectedAnswer",
    "answer_of",
    "models",
]
