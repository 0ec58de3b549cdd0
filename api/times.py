"""Times in query strings."""

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from api.rfc3339 import parse_rfc3339


def _checked_time(text: str) -> str:
    parse_rfc3339(text)
    return text


Time = Annotated[str, AfterValidator(_checked_time), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339, checked, as it was written."""


def moment(text: str | None) -> int | None:
    """Nanoseconds since 1970 of a `Time`."""
    return None if text is None else parse_rfc3339(text)
