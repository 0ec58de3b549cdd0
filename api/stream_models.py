"""Bodies about the settings of streams."""

from uuid import UUID

from pydantic import Field

from api.body import Body, optional
from api.profile_models import ProfileChange


class StreamCreation(ProfileChange):
    """A stream before its first record: what it is called, and with which profile its records are judged."""

    signal: str = Field(default="logs", description="`logs`, `metrics` or `traces`: of which signal its records are.")
    service: str = Field(description="What records say in `service.name`, or `stream_id` of a detect request.")
    namespace: str = Field(default="", description="`service.namespace`.")
    environment: str = Field(default="", description="`deployment.environment.name`.")
    display_name: str = optional("What people call it; at most 256 bytes.")
    retention_days: int | None = optional("Days that its findings are kept; null = as long as the plan says.")


class StreamChange(Body):
    """Other settings for a stream; what is left out stays. How it is judged is changed with its profile."""

    display_name: str = optional("What people call it; at most 256 bytes, empty = nothing but its slug.")
    retention_days: int | None = optional("Days that its findings are kept; null = as long as the plan says.")
    alerts_per_day_max: int = optional("Incidents of the stream that may alert in any 24 hours of event time.")


class StreamDeletion(Body):
    """A stream that is being deleted."""

    id: UUID
    slug: str
    status: str = Field(description="`deleting`: nobody finds it any more, and what it holds is removed within seconds.")
