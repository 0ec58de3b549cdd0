"""Times of long inputs, one line each: `api.rfc3339` for many times of the same day, at a fraction of the cost."""

from api.rfc3339 import NS_PER_SECOND, parse_rfc3339, parse_unix_seconds, rfc3339

TIME_NS_MAX = parse_rfc3339("2116-01-01T00:00:00Z") - 1
"""The latest event time of a run: kernels count up to 2**62 ns, in February 2116, and its clock goes on behind its events."""
OUTSIDE = "is outside the years 1970 to 2115; numbers are seconds, not milliseconds"
DAY_S = 86_400
_MINUTES_A_DAY = 1440
# Below this a number of Unix seconds with three decimals is told from all its neighbours by its milliseconds.
_MILLISECONDS_SURE_S = 2**33


class BadTime(ValueError):
    """Not a time of an event; the text says what is wrong with it."""


class Times:
    """Reads and shows event times in ns; it remembers the day that it read, and the day that it showed."""

    def __init__(self) -> None:
        self._minute_texts = [f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(_MINUTES_A_DAY)]
        self._second_texts = [f"{second:02d}" for second in range(60)]
        self._minutes_ns = {text: minute * 60 * NS_PER_SECOND for minute, text in enumerate(self._minute_texts)}
        self._seconds_ns = {text: second * NS_PER_SECOND for second, text in enumerate(self._second_texts)}
        self._read_day, self._read_day_ns = "", 0
        self._shown_day, self._shown_day_text = -1, ""

    def read(self, value: object) -> int:
        """Nanoseconds of Unix seconds or an RFC 3339 time; raises `BadTime`."""
        try:
            if isinstance(value, str):
                ns = self._text(value)
            elif isinstance(value, float):
                ns = _seconds(value)
            elif isinstance(value, int) and not isinstance(value, bool):
                ns = value * NS_PER_SECOND
            else:
                raise BadTime("is neither Unix seconds nor an RFC 3339 time")
        except BadTime:
            raise
        except (ValueError, OverflowError) as error:
            raise BadTime(f"can not be read: {error}") from None
        if not 0 <= ns <= TIME_NS_MAX:
            raise BadTime(OUTSIDE)
        return ns

    def shown(self, ns: int) -> str:
        """A time as `api.rfc3339.rfc3339` shows it."""
        seconds, fraction = divmod(ns, NS_PER_SECOND)
        if fraction:
            return rfc3339(ns)
        day, second = divmod(seconds, DAY_S)
        if day != self._shown_day:
            self._shown_day, self._shown_day_text = day, rfc3339(ns)[:11]
        return f"{self._shown_day_text}{self._minute_texts[second // 60]}{self._second_texts[second % 60]}Z"

    def _text(self, text: str) -> int:
        if len(text) == 20 and text[19] == "Z" and text[:11] == self._read_day:
            minute_ns, second_ns = self._minutes_ns.get(text[11:17]), self._seconds_ns.get(text[17:19])
            if minute_ns is not None and second_ns is not None:
                return self._read_day_ns + minute_ns + second_ns
        ns = parse_rfc3339(text)
        if len(text) == 20 and text[19] == "Z":
            self._read_day, self._read_day_ns = text[:11], ns // (DAY_S * NS_PER_SECOND) * DAY_S * NS_PER_SECOND
        return ns


def _seconds(value: float) -> int:
    """As `parse_unix_seconds`, at once where the decimals are those of milliseconds."""
    if 0.0 <= value < _MILLISECONDS_SURE_S:
        milliseconds = round(value * 1000)
        if milliseconds / 1000 == value:
            return milliseconds * 1_000_000
    return parse_unix_seconds(value)
