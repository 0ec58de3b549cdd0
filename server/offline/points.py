"""Lines of `driftlock score --signal metrics`: one JSON object a point.

    {"time": Unix seconds or RFC 3339, "value": a number, or null or NaN where there was none, "series": "..."}

`series` is the name of the series that the point belongs to, `default` without it.
"""

import json
import math
import sys
import unicodedata
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from driftlock.engine.canonical import label
from driftlock.engine.limits import Limits
from server.offline.events import LINE_BYTES_MAX, BadLine
from server.offline.times import BadTime, Times

DEFAULT_SERIES = "default"
SPELLINGS_A_SERIES_MAX = 4  # on average; how a name is spelled beyond that is looked at anew each time
_MEMBERS = frozenset(("time", "value", "series"))


class TooManySeries(Exception):
    """The input names more series than are kept, each of which has a past of its own in memory."""


class Points(NamedTuple):
    """Points in their order: numbers of their series (from 1), event times in ns, values (NaN and infinities included)."""

    series: "array[int]"
    times_ns: "array[int]"
    values: "array[float]"

    def add(self, series: int, time_ns: int, value: float) -> None:
        """Add a point."""
        self.series.append(series)
        self.times_ns.append(time_ns)
        self.values.append(value)

    def between(self, first: int, last: int) -> "Points":
        """Those at `first`..`last` - 1."""
        return Points(self.series[first:last], self.times_ns[first:last], self.values[first:last])


def no_points() -> Points:
    """Empty columns."""
    return Points(array("Q"), array("Q"), array("d"))


class PointReader:
    """Reads points and numbers their series; `names[n - 1]` is the name of series n."""

    def __init__(self, limits: Limits) -> None:
        self.names: list[str] = []
        self._series_max, self._name_bytes_max = limits.series_max, limits.series_name_bytes_max
        self._numbers: dict[object, int] = {}  # as spelled, and None -> number
        self._times = Times()
        self._decoder = json.JSONDecoder()

    def point(self, line: bytes) -> tuple[int, int, float]:
        """Series, time and value of a line; raises `BadLine`, or `TooManySeries`."""
        if len(line) > LINE_BYTES_MAX:
            raise BadLine(f"is longer than {LINE_BYTES_MAX} bytes (line_bytes_max)")
        try:
            found = self._decoder.decode(line.decode())
        except UnicodeDecodeError as error:
            raise BadLine(f"is not UTF-8 (byte {error.start})") from None
        except RecursionError:
            raise BadLine("is nested too deeply") from None
        except json.JSONDecodeError as error:
            raise BadLine(f"is not JSON: {error}") from None
        except ValueError:  # nothing else keeps a decoder from a number
            most = f"{sys.get_int_max_str_digits():,}"
            raise BadLine(f"has a number of more than {most} digits; write it with an exponent, as in 1e300") from None
        if not isinstance(found, dict):
            raise BadLine("is not a JSON object")
        for name in ("time", "value"):
            if name not in found:
                raise BadLine(f'has no "{name}"')
        further = found.keys() - _MEMBERS
        if further:
            raise BadLine(f'has a member {json.dumps(min(further))}; a point has "time", "value" and "series"')
        return self._point(found)

    def points(self, lines: Sequence[bytes]) -> Points | None:
        """All points of usual lines at once, which is faster; None if a line is unusual: then read them one by one."""
        if not lines or max(map(len, lines)) > LINE_BYTES_MAX:
            return None
        found, at, decoded, point = no_points(), 0, self._decoder.raw_decode, self._point
        try:
            whole = b"\n".join([*lines, b""]).decode()
            while at < len(whole):
                members, end = decoded(whole, at)
                # What began with the line ends with it, so it is just this line: JSON may go on behind a line feed.
                if whole.find("\n", at) != end or not _is_point(members):
                    return None
                found.add(*point(members))
                at = end + 1
        except (ValueError, RecursionError, BadLine, TooManySeries):
            return None
        return found

    def _point(self, members: dict[str, object]) -> tuple[int, int, float]:
        """Of an object with the right members. Series are numbered in the order of their first lines, whoever asks."""
        try:
            time_ns = self._times.read(members["time"])
        except BadTime as error:
            raise BadLine(f'has a "time" that {error}') from None
        value = members["value"]
        if type(value) is not float:
            value = _number(value)
        name = members.get("series")
        number = self._numbers.get(name) if name is None or isinstance(name, str) else None
        return number or self._next(name), time_ns, value

    def _next(self, name: object) -> int:
        """The number of a name that is spelled as none before."""
        if name is not None and not isinstance(name, str):
            raise BadLine('has a "series" that is not a string')
        normal = DEFAULT_SERIES if name is None else self._normal(name)
        number = self._numbers.get(normal)
        if number is None:
            if len(self.names) == self._series_max:
                raise TooManySeries(f"there are more than {self._series_max} series (series_max); score them in several runs")
            self.names.append(normal)
            number = self._numbers[normal] = len(self.names)
        if len(self._numbers) < SPELLINGS_A_SERIES_MAX * self._series_max:
            self._numbers[name] = number
        return number

    def _normal(self, name: str) -> str:
        """Its normal form. A name from which that would take what does not show is refused: two series would become one."""
        normal, composed = label(name, self._name_bytes_max), unicodedata.normalize("NFC", name).strip()
        if not normal or max(len(text.encode("utf-8", "surrogatepass")) for text in (name, composed)) > self._name_bytes_max:
            raise BadLine(f'has a "series" without a printable character, or of more than {self._name_bytes_max} bytes')
        if normal != composed:
            raise BadLine('has a "series" with a control, format or other character that does not show; name it without')
        return normal


def _is_point(members: object) -> bool:
    """Whether it has the members of a point, and no others."""
    if not isinstance(members, dict) or "time" not in members or "value" not in members:
        return False
    return len(members) == 2 + ("series" in members)


def _number(value: object) -> float:
    """A value that is not spelled as a float."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadLine('has a "value" that is neither a number nor null')
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
