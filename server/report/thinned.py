"""A sequence without end in bounded memory: neighbours become one when there are too many."""

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Thinned(Generic[Item]):
    """At most 2 `items_max` items: when there are more, neighbours become one by `merged`, and so do all later ones."""

    def __init__(self, items_max: int, merged: Callable[[Item, Item], Item]) -> None:
        self.items: list[Item] = []
        self._items_max, self._merged = items_max, merged
        self._each = 1  # so many were added for an item
        self._added = 0

    def add(self, item: Item) -> None:
        """Add the next one."""
        if self._added % self._each:
            self.items[-1] = self._merged(self.items[-1], item)
        else:
            self.items.append(item)
        self._added += 1
        if len(self.items) == 2 * self._items_max and self._added % self._each == 0:
            pairs = zip(self.items[::2], self.items[1::2], strict=True)
            self.items = [self._merged(first, second) for first, second in pairs]
            self._each *= 2
