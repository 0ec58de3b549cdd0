"""Operations as clients see them."""

from enum import StrEnum

from pydantic import Field

from api.body import Body
from api.models import DetectResponse


class OperationStatus(StrEnum):
    """How far it is."""

    PENDING = "pending"
    DONE = "done"


class Operation(Body):
    """A `POST /v1/detect` that was answered 202: its events are journaled, and will be scored."""

    id: str
    status: OperationStatus
    result: DetectResponse | None = Field(description="What the request would have been answered; null while it is pending.")
