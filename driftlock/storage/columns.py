"""Values as columns of many rows, in the form in which the database can hold them."""

from collections.abc import Sequence

NS_MAX = 2**63 - 1


def columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Rows as the columns that `unnest` takes; there has to be a row."""
    return [list(column) for column in zip(*rows, strict=True)]


def ns(time_ns: int) -> int:
    """What a bigint column can hold of a time."""
    return max(0, min(time_ns, NS_MAX))


def text(value: str) -> str:
    """What a text column can hold: no NUL, no lone surrogate."""
    return value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\u2400")
