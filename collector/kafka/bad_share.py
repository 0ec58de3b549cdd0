"""When too many messages of a partition can not be read, something is wrong with whoever writes them, and not with them."""

from collections import deque

MESSAGES = 1000
"""The newest messages of a partition that are looked at."""
SHARE_MAX = 0.01
BAD_MIN = 20
"""Fewer bad messages than these are never too many."""


class BadShare:
    """The share of bad messages among the newest ones of a partition."""

    def __init__(self, *, messages: int = MESSAGES, share_max: float = SHARE_MAX, bad_min: int = BAD_MIN) -> None:
        """None was read yet."""
        self._newest: deque[bool] = deque(maxlen=messages)
        self._bad_max = max(bad_min - 1, int(messages * share_max))
        self._bad = 0

    @property
    def bad(self) -> int:
        """Bad messages among the newest ones."""
        return self._bad

    def note(self, *, bad: bool) -> bool:
        """A message was read; returns whether there are too many bad ones by now.

        >>> share = BadShare(messages=100, bad_min=2)
        >>> [share.note(bad=bad) for bad in (True, False, True)]
        [False, False, True]
        """
        if len(self._newest) == self._newest.maxlen and self._newest[0]:
            self._bad -= 1
        self._newest.append(bad)
        self._bad += bad
        return self._bad > self._bad_max
