"""Which value makes records one interaction: the `group_by` of a stream, and where it stands in a batch of records.

trace_id           the trace of spans, and of logs that carry one
attribute:NAME     the value of an attribute, or of a member of a body that is a map: ` NAME=value` in canonical text
text:PREFIX        the token in the text that begins with PREFIX, e.g. `text:blk_` -> `blk_-1608999687919862906`
"""

from array import array
from dataclasses import dataclass
from enum import StrEnum

from cbad_cy.keyset import PATTERN_BYTES_MAX, attribute_spans, token_spans, trace_spans
from driftlock.errors import InvalidArgument

Spans = tuple[bytes, "array[int]", "array[int]"]
"""Bytes that hold keys, and where in them the key of each record begins and how long it is (0 = it has none)."""


class BadGroupBy(InvalidArgument):
    """A `group_by` that says nothing; the message says what it may be."""


class GroupKind(StrEnum):
    """Where a key comes from."""

    TRACE = "trace_id"
    ATTRIBUTE = "attribute"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Where the key of a record is; `name` is the attribute or the prefix, empty for traces. Made by `parse`."""

    kind: GroupKind
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "GroupBy":
        """Read a `group_by`; raises `BadGroupBy`.

        >>> GroupBy.parse("attribute:session.id")
        GroupBy(kind=<GroupKind.ATTRIBUTE: 'attribute'>, name='session.id')
        >>> GroupBy.parse("trace_id").text
        'trace_id'
        """
        kind, separator, name = text.partition(":")
        if text == GroupKind.TRACE:
            return cls(GroupKind.TRACE)
        if not separator or kind not in (GroupKind.ATTRIBUTE, GroupKind.TEXT):
            raise BadGroupBy(f"group_by is {text[:80]!r}; choose trace_id, attribute:NAME or text:PREFIX")
        if not name or any(char.isspace() for char in name) or not name.isprintable():
            raise BadGroupBy(f"group_by {kind}: needs a name of visible characters without spaces behind the colon")
        if len(name.encode()) > PATTERN_BYTES_MAX:
            raise BadGroupBy(f"group_by has a name of {len(name.encode())} bytes, at most {PATTERN_BYTES_MAX}")
        return cls(GroupKind(kind), name)

    @property
    def text(self) -> str:
        """What `parse` reads."""
        return self.kind.value if self.kind is GroupKind.TRACE else f"{self.kind}:{self.name}"

    def spans(self, text: bytes, lengths: "array[int]", trace_ids: bytes) -> Spans:
        """Where the keys of records are; `text` and `lengths` as in a `RecordBatch`, `trace_ids` empty or 16 bytes a record.

        A trace id of zeros, an empty value and a record without the name are no key. ValueError for columns that do not fit.

        >>> GroupBy.parse("text:req-").spans(b"GET / req-77", array("I", [12]), b"")[1:]
        (array('I', [6]), array('I', [6]))
        """
        if self.kind is GroupKind.TRACE:
            if len(trace_ids) not in (0, 16 * len(lengths)):
                raise ValueError(f"{len(trace_ids)} bytes of trace ids for {len(lengths)} records; give 16 a record or none")
            none = array("I", bytes(4 * len(lengths)))
            return (trace_ids, *trace_spans(trace_ids)) if trace_ids else (b"", none, none)
        find = attribute_spans if self.kind is GroupKind.ATTRIBUTE else token_spans
        return (text, *find(text, lengths, self.name.encode()))

    def shown(self, key: bytes) -> str:
        """A key as people write it: traces in hexadecimal, others as they are, what is not UTF-8 replaced."""
        return key.hex() if self.kind is GroupKind.TRACE else key.decode("utf-8", "replace")


def wrong_group_by(value: object) -> str:
    """What is wrong with a `group_by` from outside; "" if nothing is, and "" itself stands for none.

    >>> wrong_group_by("session"), wrong_group_by("")
    ("is 'session'; choose trace_id, attribute:NAME or text:PREFIX", '')
    """
    if not isinstance(value, str):
        return "must be text: trace_id, attribute:NAME or text:PREFIX; empty for none"
    try:
        if value:
            GroupBy.parse(value)
    except BadGroupBy as error:
        return str(error).removeprefix("group_by ")
    return ""
