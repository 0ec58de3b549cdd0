"""Members that are one of a few words: bodies are read strictly, and a text is no enumeration by itself."""

from collections.abc import Callable
from enum import StrEnum


def chosen(words: type[StrEnum]) -> Callable[[object], object]:
    """Reads a text as one of `words`; ValueError names them all."""

    def read(value: object) -> object:
        if not isinstance(value, str) or value not in set(words):
            raise ValueError(f"choose one of {', '.join(words)}")
        return words(value)

    return read


def schema_of(words: type[StrEnum]) -> dict[str, object]:
    """How such a member is described."""
    return {"type": "string", "enum": [word.value for word in words]}
