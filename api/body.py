"""What all bodies of requests and responses have in common: they never change, and a member that nobody knows is an error."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict


class Body(BaseModel):
    """Base of the bodies in `api.models` and `api.profile_models`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def optional(description: str) -> Any:
    """A member that may be left out, which only `model_fields_set` tells; the schema shows no default for it."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)
