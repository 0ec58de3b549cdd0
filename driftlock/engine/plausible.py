"""Whether the numbers of a stored state can be those of a stream: whoever signs evidence may write anything into one."""

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from driftlock.engine.limits import MINUTE_NS

COUNT_MAX = 2**53
"""Most of anything that is counted: a million a second for 285 years."""

EVENT_NS_MAX = 2**62
"""The latest event time, as kernels take it."""

CLOCK_NS_MAX = 2**63 - 1
"""The latest that any clock may say."""

_EVENT_TIMES = frozenset({"first_event_ns", "watermark_ns", "mark_ns"})

_WHOLE = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def check_counts(message: Message, *, but: tuple[str, ...] = ()) -> None:
    """Check the whole numbers of a message, without those of messages in it; fields in `but` are hashes and may be anything.

    Names of times end in `_ns`, and those of minutes since 1970 have the word in them. Raises ValueError for what would not fit
    where the fold computes with it.
    """
    for field, value in message.ListFields():
        if field.cpp_type not in _WHOLE or field.name in but:
            continue
        most = _most(field.name)
        if not all(0 <= number <= most for number in (value if field.is_repeated else (value,))):
            raise ValueError(f"{field.name} is not from 0 to {most}")


def _most(name: str) -> int:
    if name in _EVENT_TIMES:
        return EVENT_NS_MAX
    if name.endswith("_ns"):
        return CLOCK_NS_MAX
    return CLOCK_NS_MAX // MINUTE_NS if "minute" in name else COUNT_MAX
