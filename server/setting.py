"""What a setting is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: `default` is its text when unset, `None` meaning that it has no value then."""

    name: str
    field: str
    default: str | None
    description: str
    parse: Callable[[str], object]
