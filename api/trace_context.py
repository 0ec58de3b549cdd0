"""The header `traceparent` (W3C Trace Context, section 3.2): which trace a request belongs to, so that log lines can say so.

A header that is not right is ignored, as the standard asks; nothing is answered, as there is no standard for that yet.
"""

import re
from collections.abc import Sequence

TRACEPARENT_HEADER = "traceparent"
TRACEPARENT_CHARS_MAX = 512
_SHAPE = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_PARENT = "0" * 32, "0" * 16


def trace_id_of(values: Sequence[str]) -> str | None:
    """The trace id of the header's values; None without a usable one. A later version may say more after a dash.

    >>> trace_id_of(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
    '0af7651916cd43dd8448eb211c80319c'
    """
    if len(values) != 1 or len(values[0]) > TRACEPARENT_CHARS_MAX:
        return None
    match = _SHAPE.fullmatch(values[0].strip(" \t"))
    if match is None:
        return None
    version, trace_id, parent_id, _, more = match.groups()
    if version == "ff" or (version == "00" and more is not None) or trace_id == _NO_TRACE or parent_id == _NO_PARENT:
        return None
    return trace_id
