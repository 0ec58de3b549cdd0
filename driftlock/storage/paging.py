"""The bound of every list, and how lists with filters are planned."""

from driftlock.errors import InvalidArgument

PAGE_ITEMS_MAX = 200

PLAN_ANEW = "set local plan_cache_mode = force_custom_plan"
"""To be sent in the transaction of a list with optional filters: it is planned for those that are given, and for its page.

A plan that is kept for all of them could use no index for any, and a later page would cost as much as all pages before it.
"""

IN_ORDER = f"{PLAN_ANEW}; set local enable_sort = off; set local enable_bitmapscan = off"
"""The same, for a list that has an index in its order for everything that it can be narrowed by.

Row-level security hides from the planner which tenant asks, so it takes a large one for an average one: it would collect and
sort all that fits a filter, once for each page. Along an index in the order of the list a page ends when it is full.
"""


def check_limit(limit: int) -> int:
    """`limit` itself; raises `InvalidArgument` outside 1..`PAGE_ITEMS_MAX`."""
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise InvalidArgument(f"limit must be from 1 to {PAGE_ITEMS_MAX}")
    return limit
