"""Names that Kafka allows."""

TOPIC_CHARS_MAX = 249
_TOPIC_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def parse_topic(text: str) -> str:
    """A name that Kafka allows for a topic."""
    if not (len(text) <= TOPIC_CHARS_MAX and _TOPIC_CHARS.issuperset(text) and text not in {".", ".."}):
        raise ValueError(f"use at most {TOPIC_CHARS_MAX} letters, digits, dots, underscores and hyphens")
    return text
