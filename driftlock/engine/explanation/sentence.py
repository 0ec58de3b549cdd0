"""One plain sentence about a finding. What it says of the past is true, or it is not said."""

from collections.abc import Sequence
from types import MappingProxyType

from driftlock.engine.explanation.spans import KEPT, WORDS, Token

QUOTE_CHARACTERS_MAX = 160
MARKS = (
    ("<U>", "<uuid>"),
    ("<IP>", "<ip>"),
    ("<T>", "<time>"),
    ("<V>", "<value>"),
    ("<H>", "<hex>"),
    ("<X>", "<id>"),
    ("<D>", "<date>"),
    ("<P>", "<path>"),
    ("#", "<num>"),
)
NOTHING = "``"
"""How an empty line is quoted."""

LABELS = MappingProxyType(dict(MARKS))
_SPANS_NS = ((86_400 * 10**9, "days"), (3600 * 10**9, "hours"), (60 * 10**9, "minutes"), (10**9, "seconds"))


def headline(line: bytes, masked: bytes, found: Sequence[Token], novel: Sequence[tuple[int, int]] = ()) -> str:
    """The line in backticks, values as what they are (`<num>`), except those in the `novel` byte ranges.

    `found` are its tokens. It begins at the first word: what stands before it (a timestamp, a number) says nothing about
    what is new.
    """
    first = 0 if line.startswith(b"{") else next((at for at, token in enumerate(found) if token[0] in WORDS), 0)
    parts: list[str] = []
    size, stop = 0, -1
    for token in found[first:]:
        if size > QUOTE_CHARACTERS_MAX:
            break
        parts.append(" " * (parts != [] and token[1] > stop) + _told(line, masked, token, novel))
        size += len(parts[-1])
        stop = token[2]
    return quoted("".join(parts))


def _told(line: bytes, masked: bytes, token: Token, novel: Sequence[tuple[int, int]]) -> str:
    kind, masked_start, masked_stop, start, stop = token
    if kind in KEPT or any(low < stop and start < high for low, high in novel):
        return line[start : min(stop, start + 4 * QUOTE_CHARACTERS_MAX)].decode("utf-8", "replace")
    text = masked[masked_start : min(masked_stop, masked_start + 4 * QUOTE_CHARACTERS_MAX)].decode("utf-8", "replace")
    return text.replace("#", "<num>") if kind in WORDS else LABELS.get(text, text)


def masked_headline(form: str) -> str:
    """The same for a masked form, of which the source is not known."""
    words = form[: 8 * QUOTE_CHARACTERS_MAX].split()
    first = 0 if form.startswith("{") else next((at for at, word in enumerate(words) if _is_word(word)), 0)
    text = " ".join(words[first:])
    for mark, label in MARKS:
        text = text.replace(mark, label)
    return quoted(text)


def _is_word(word: str) -> bool:
    for mark, _ in MARKS:
        word = word.replace(mark, "")
    return any(character.isalpha() for character in word)


def quoted(text: str) -> str:
    """In backticks, on one line, not longer than `QUOTE_CHARACTERS_MAX`."""
    text = " ".join(text.split())
    return f"`{text[:QUOTE_CHARACTERS_MAX]}…`" if len(text) > QUOTE_CHARACTERS_MAX else f"`{text}`"


def lasting(span_ns: int) -> str:
    """A span in words, rounded down so that "never in the last ..." stays true; "" for less than a second.

    >>> lasting(9 * 86_400 * 10**9 + 5), lasting(86_400 * 10**9), lasting(10**9)
    ('9 days', '24 hours', '1 second')
    """
    for unit_ns, name in _SPANS_NS:
        if span_ns >= 2 * unit_ns:
            return f"{span_ns // unit_ns} {name}"
    return "1 second" if span_ns >= _SPANS_NS[-1][0] else ""


def number(value: float) -> str:
    """A count as people say it.

    >>> [number(value) for value in (41.0, 4.2, 0.04, 0.0, 12.6)]
    ['41', '4.2', 'less than 0.1', '0', '13']
    """
    if value >= 10 or value == int(value):
        return str(int(value + 0.5))
    return f"{value:.1f}" if value >= 0.05 else "less than 0.1"


def times(observed: float) -> str:
    """How often something came.

    >>> times(1.0), times(0.0), times(41.0)
    ('came once', 'has not come', 'came 41 times')
    """
    if observed == 0:
        return "has not come"
    return "came once" if observed == 1 else f"came {number(observed)} times"


def usually(expected: float) -> str:
    """How often something comes otherwise."""
    return "usually never" if expected == 0 else f"usually {number(expected)}"
