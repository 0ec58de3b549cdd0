"""Lines that strangers, or an outage, can cause, as often as is useful to whoever reads the log."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

PERIOD_S = 60.0
OTHERS = "other messages"


@dataclass(slots=True)
class _Said:
    """How often a message may be written at once, when that was reckoned, and how often it was kept back since it was."""

    tokens: float
    at_s: float
    kept_back: int = 0


class OncePerPeriod(logging.Filter):
    """Lets each message through once in `period_s`, with how often it was kept back since; the first `burst` at once.

    Messages are told apart by their text before its arguments are put in, or by the event of a structured line, so that no
    sender can make up new ones. `messages_max` are told apart; when there are more in a period, the rest count as one message.
    Less severe lines than `level` always pass. Messages in `paced`, of which many in a row say different things and whose pace
    their writer sees to, get through once in `paced_period_s` each, `paced_burst` at once. `clock_s` is a monotonic clock.
    """

    def __init__(
        self,
        clock_s: Callable[[], float],
        *,
        period_s: float = PERIOD_S,
        messages_max: int = 256,
        burst: int = 1,
        level: int = logging.NOTSET,
        paced: frozenset[str] = frozenset(),
        paced_period_s: float = 1.0,
        paced_burst: int = 100,
    ) -> None:
        super().__init__()
        self._paced, self._paced_pace = paced, (paced_burst, paced_period_s)
        self._clock_s, self._period_s, self._messages_max = clock_s, period_s, messages_max
        self._burst, self._level = burst, level
        self._said: OrderedDict[str, _Said] = OrderedDict()  # the longest not heard of first

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; see `logging.Filter.filter`."""
        if record.levelno < self._level:
            return True
        said = self._known(str(record.msg.get("event")) if isinstance(record.msg, dict) else str(record.msg))
        if said.tokens < 1:
            said.kept_back += 1
            return False
        said.tokens -= 1
        if said.kept_back:
            _add(record, f" ({said.kept_back} more of these in the meantime)")
            said.kept_back = 0
        return True

    def _known(self, text: str) -> _Said:
        """What is known of a message, with its tokens as of now."""
        now_s = self._clock_s()
        burst, period_s = self._paced_pace if text in self._paced else (self._burst, self._period_s)
        if text not in self._said and len(self._said) >= self._messages_max:
            oldest = next(iter(self._said.values()))
            if now_s - oldest.at_s >= self._period_s * self._burst:
                self._said.popitem(last=False)
            else:
                text = OTHERS
        said = self._said.setdefault(text, _Said(burst, now_s))
        said.tokens = min(burst, said.tokens + (now_s - said.at_s) / period_s)
        said.at_s = now_s
        self._said.move_to_end(text)
        return said


def _add(record: logging.LogRecord, note: str) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "event": f"{record.msg.get('event')}{note}"}
    else:
        record.msg = f"{record.msg}{note}"
