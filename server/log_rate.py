"""Lines that strangers can cause, as often as is useful to whoever reads the log."""

import logging
from collections.abc import Callable

PERIOD_S = 60.0


class OncePerPeriod(logging.Filter):
    """Lets each message of a logger through once in `period_s`, with how often it was kept back since; at most `messages_max`.

    Messages are told apart by their text before its arguments are put in, so that no sender can make up new ones.
    `clock_s` is a monotonic clock.
    """

    def __init__(self, clock_s: Callable[[], float], *, period_s: float = PERIOD_S, messages_max: int = 256) -> None:
        super().__init__()
        self._clock_s, self._period_s, self._messages_max = clock_s, period_s, messages_max
        self._said: dict[str, tuple[float, int]] = {}  # when it was said last, and how often it was kept back since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; see `logging.Filter.filter`."""
        now_s, text = self._clock_s(), str(record.msg)
        said_s, kept_back = self._said.get(text, (-self._period_s, 0))
        if text not in self._said and len(self._said) >= self._messages_max:
            return False
        if now_s - said_s < self._period_s:
            self._said[text] = (said_s, kept_back + 1)
            return False
        self._said[text] = (now_s, 0)
        if kept_back:
            record.msg = f"{text} ({kept_back} more of these in the meantime)"
        return True
