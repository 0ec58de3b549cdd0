"""The bound of every list."""

from driftlock.errors import InvalidArgument

PAGE_ITEMS_MAX = 200


def check_limit(limit: int) -> int:
    """`limit` itself; raises `InvalidArgument` outside 1..`PAGE_ITEMS_MAX`."""
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise InvalidArgument(f"limit must be from 1 to {PAGE_ITEMS_MAX}")
    return limit
