"""Masks that a stream's owner adds because no rule of ours knows his identifiers: `order-{hex}{as:ORDER}`, `user={word}`.

A mask is one line of text. Characters stand for themselves, except that braces hold a class of characters:

    mask    = ["{within}"] (character | class)+ ["{within}"] ["{as:" NAME "}"]
    class   = "{" name ["+" characters] [":" length] "}" | "{until:" characters "}"
    length  = N (exactly) | N-M | N- (at least), in bytes; without it at least 1

A class takes as many of its characters as there are, up to its greatest length, and never gives one back; what follows it has
to come right after. So there is one way only to read a line, and no pattern that takes long: a line of n bytes costs at most
n times the length of the pattern. A match becomes `<NAME>` (`<M>` without a name) and what its classes took becomes a slot.
It starts and ends at borders of words unless `{within}` stands there. `docs/masks.md` tells it with examples.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits, hexdigits
from types import MappingProxyType
from typing import NamedTuple

from cbad_cy import tokenize
from cbad_cy.tokenize import MaskPattern, Masks, Run
from driftlock.errors import InvalidArgument

MASKS_MAX = tokenize.MASKS_MAX
"""Most masks of a profile."""

PATTERN_BYTES_MAX = 128
"""Longest mask, bytes of its text in UTF-8."""

NAME_BYTES_MAX = tokenize.MASK_NAME_BYTES_MAX
"""Longest name; a name is ASCII."""

ELEMENTS_MAX = tokenize.MASK_ELEMENTS_MAX
"""Most elements of one mask: classes, and the stretches of characters between them."""

RUN_BYTES_MAX = 4096
"""Greatest length that a class may be given, bytes; without one it has no bound but the line's end."""

DEFAULT_NAME = "M"

TAKEN_NAMES = frozenset({"U", "IP", "T", "V", "H", "X", "D", "P"})
"""Names of the tokenizer's own marks."""

_BEYOND_ASCII = bytes(range(0x80, 0x100))
_LETTERS = ascii_letters.encode() + _BEYOND_ASCII
_SPACES = b"\t\n\v\f\r "

CLASSES: Mapping[str, bytes] = MappingProxyType(
    {
        "digits": digits.encode(),
        "hex": hexdigits.encode(),
        "lower": ascii_lowercase.encode(),
        "upper": ascii_uppercase.encode(),
        "letters": _LETTERS,
        "alnum": _LETTERS + digits.encode(),
        "word": _LETTERS + digits.encode() + b"_",
        "nonspace": bytes(sorted(set(range(0x100)) - set(_SPACES))),
    }
)
"""The bytes of each class. Every character beyond ASCII is a letter."""


class BadMask(InvalidArgument):
    """A mask that can not be read, or can never match; `position` is the character that is to blame, from 1 on."""

    def __init__(self, position: int, detail: str) -> None:
        super().__init__(f"character {position}: {detail}")
        self.position = position


class _Character(NamedTuple):
    text: str
    plain: bool  # no backslash stands before it


class _Item(NamedTuple):
    """A character of a mask, or what stands in one pair of braces."""

    position: int
    characters: tuple[_Character, ...]
    braces: bool


class _Element(NamedTuple):
    position: int
    match: bytes | Run


def parse_mask(text: str, *, may_grow: bool = False) -> MaskPattern:
    r"""What a mask looks for. Raises `BadMask`.

    What masks lines before they are compared must not make them longer, so its shortest match has at least the bytes of its
    mark. With `may_grow` it need not: what stands in place of a match is not a mark of this pattern then.

    >>> parse_mask(r"\{{digits:4-}\}").elements
    (b'{', Run(members=b'0123456789', least=4, most=1048576), b'}')
    >>> parse_mask("order-")
    Traceback (most recent call last):
    driftlock.engine.masks.BadMask: character 1: names no class such as {digits}; what never varies needs no mask
    """
    _check_text(text)
    items = list(_items(text))
    name, named_at = DEFAULT_NAME, 0
    if items and _head(items[-1]) == "as":
        item = items.pop()
        name, named_at = _name(item), item.position
    starts_within = bool(items) and _is_within(items[0])
    items = items[starts_within:]
    ends_within = bool(items) and _is_within(items[-1])
    elements = _elements(items[: len(items) - ends_within])
    _check_elements(elements)
    if not may_grow:
        _check_room(elements, name, named_at)
    return MaskPattern(name.encode(), tuple(element.match for element in elements), starts_within, ends_within)


def compiled(masks: Sequence[str]) -> Masks | None:
    """Masks of a profile as the tokenizer takes them; None for none, which costs nothing. Raises `BadMask`."""
    return Masks([parse_mask(mask) for mask in masks]) if masks else None


def wrong_masks(value: object) -> str:
    """What is wrong with a profile's `masks`, all of it; "" if nothing is."""
    if not isinstance(value, list | tuple) or not all(isinstance(mask, str) for mask in value):
        return "must be a list of masks, each a text such as order-{digits}"
    if len(value) > MASKS_MAX:
        return f"has {len(value)} masks, at most {MASKS_MAX} are possible (masks_max); join or remove some"
    wrong = []
    for number, mask in enumerate(value, 1):
        if mask in value[: number - 1]:
            wrong.append(f"mask {number} is mask {value.index(mask) + 1} again; remove one of them")
            continue
        try:
            parse_mask(mask)
        except BadMask as error:
            wrong.append(f"mask {number}, {error.message}")
    return "; ".join(wrong)


def _check_text(text: str) -> None:
    for position, character in enumerate(text, 1):
        if ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000:
            raise BadMask(position, f"U+{ord(character):04X} is a control character or no character; leave it out")
    size = len(text.encode())
    if size > PATTERN_BYTES_MAX:
        position = len(text.encode()[:PATTERN_BYTES_MAX].decode(errors="ignore")) + 1
        raise BadMask(position, f"a mask of {size} bytes is over {PATTERN_BYTES_MAX} (pattern_bytes_max); cut it here")


def _items(text: str) -> Iterator[_Item]:
    at = 0
    while at < len(text):
        start = at
        if text[at] == "}":
            raise BadMask(start + 1, r"} closes nothing; write \} for the character itself")
        if text[at] != "{":
            character, at = _character(text, at)
            yield _Item(start + 1, (character,), braces=False)
            continue
        inside, at = list[_Character](), at + 1
        while at < len(text) and text[at] != "}":
            if text[at] == "{":
                raise BadMask(at + 1, r"{ can not stand in braces; close them first, or write \{ for the character itself")
            character, at = _character(text, at)
            inside.append(character)
        if at == len(text):
            raise BadMask(start + 1, r"{ is never closed; add a }, or write \{ for the character itself")
        at += 1
        yield _Item(start + 1, tuple(inside), braces=True)


def _character(text: str, at: int) -> tuple[_Character, int]:
    """The character at text[at:], of which a backslash takes any meaning, and where the next one is."""
    if text[at] != "\\":
        return _Character(text[at], plain=True), at + 1
    if at + 1 == len(text) or text[at + 1] not in "{}\\:+":
        raise BadMask(at + 1, r"\ stands before {, }, : , + or \ only; write \\ for the character itself")
    return _Character(text[at + 1], plain=False), at + 2


def _split(characters: Sequence[_Character], marks: str) -> tuple[str, Sequence[_Character]]:
    """The text before the first plain character of `marks`, and the rest from there on."""
    for number, character in enumerate(characters):
        if character.plain and character.text in marks:
            return _text(characters[:number]), characters[number:]
    return _text(characters), ()


def _text(characters: Sequence[_Character]) -> str:
    return "".join(character.text for character in characters)


def _head(item: _Item) -> str:
    """The word that braces begin with; "" for a character."""
    return _split(item.characters, "+:")[0] if item.braces else ""


def _is_within(item: _Item) -> bool:
    return item.braces and _text(item.characters) == "within"


def _name(item: _Item) -> str:
    name = _text(item.characters).removeprefix("as").removeprefix(":")
    if not name or name.strip(ascii_uppercase + digits + "_") or name[0] not in ascii_uppercase:
        raise BadMask(item.position, "write {as:NAME} with a name of A-Z, 0-9 and _ that begins with a letter")
    if len(name) > NAME_BYTES_MAX:
        raise BadMask(item.position, f"a name of {len(name)} bytes is over {NAME_BYTES_MAX} (name_bytes_max); shorten it")
    if name in TAKEN_NAMES:
        raise BadMask(item.position, f"<{name}> is a mark of the built-in rules; choose another name")
    return name


def _elements(items: Sequence[_Item]) -> list[_Element]:
    elements: list[_Element] = []
    for item in items:
        if item.braces:
            elements.append(_Element(item.position, _run(item)))
            continue
        literal = _text(item.characters).encode()
        if elements and isinstance(elements[-1].match, bytes):
            elements[-1] = elements[-1]._replace(match=elements[-1].match + literal)
        else:
            elements.append(_Element(item.position, literal))
    return elements


def _run(item: _Item) -> Run:
    """The class in one pair of braces."""
    head, rest = _split(item.characters, "+:")
    if head == "until":
        stops = _listed(item, rest[1:]) if rest and rest[0].text == ":" else b""
        if not stops:
            raise BadMask(item.position, "names no character; write {until:,} for all that comes before the next comma")
        return Run(bytes(sorted(set(range(0x100)) - set(stops))))
    if head == "within":
        raise BadMask(item.position, "{within} takes nothing and stands first or last, before {as:NAME}; remove or move it")
    if head == "as":
        raise BadMask(item.position, "{as:NAME} comes last, and once; remove or move it")
    if head not in CLASSES:
        choice = ", ".join(f"{{{name}}}" for name in CLASSES)
        raise BadMask(item.position, f"{{{head[:20]}}} is unknown; choose of {choice} and {{until:...}}")
    members = CLASSES[head]
    if rest and rest[0].text == "+":
        _, length = _split(rest[1:], ":")
        added = rest[1 : len(rest) - len(length)]
        if not added:
            raise BadMask(item.position, f"+ adds no character; write {{{head}+.}} for a class with the dot, too")
        members, rest = bytes(sorted({*members, *_listed(item, added)})), length
    return Run(members, *_length(item, _text(rest[1:]))) if rest else Run(members)


def _listed(item: _Item, characters: Sequence[_Character]) -> bytes:
    """Characters of a list as bytes."""
    text = _text(characters)
    if not text.isascii():
        raise BadMask(item.position, "lists a character beyond ASCII; those are letters, all together: use {letters} or {word}")
    return text.encode()


def _length(item: _Item, text: str) -> tuple[int, ...]:
    """Least and greatest length; no greatest one where none is set."""
    least, dash, most = text.partition("-")
    numbers = [least, *([most] if most else [] if dash else [least])]
    if not all(number.isascii() and number.isdigit() and len(number) <= len(str(RUN_BYTES_MAX)) for number in numbers):
        raise BadMask(item.position, f"{text[:20]!r} is no length; write 4, 4-12 or 4-, up to {RUN_BYTES_MAX} (run_bytes_max)")
    bounds = [int(number) for number in numbers]
    if not 1 <= bounds[0] <= bounds[-1] <= RUN_BYTES_MAX:
        raise BadMask(
            item.position,
            f"length {text} is not possible; use 1 to {RUN_BYTES_MAX} bytes (run_bytes_max), the smaller number first",
        )
    return tuple(bounds)


def _check_elements(elements: Sequence[_Element]) -> None:
    """Raise `BadMask` for what can be read and yet makes no sense."""
    runs = [element for element in elements if isinstance(element.match, Run)]
    if not runs:
        raise BadMask(1, "names no class such as {digits}; what never varies needs no mask")
    if len(elements) > ELEMENTS_MAX:
        position = elements[ELEMENTS_MAX].position
        raise BadMask(position, f"is element {ELEMENTS_MAX + 1} of at most {ELEMENTS_MAX} (elements_max); end before")
    first, last = elements[0], elements[-1]
    if isinstance(first.match, bytes) and first.match.startswith(b" "):
        raise BadMask(first.position, "begins with a space; leave it out: a match begins where a word does")
    if isinstance(last.match, bytes) and last.match.endswith(b" "):
        raise BadMask(last.position, "ends with a space; leave it out: a match ends where a word does")
    for before, after in pairwise(elements):
        _check_neighbours(before.match, after)


def _check_room(elements: Sequence[_Element], name: str, named_at: int) -> None:
    """Raise `BadMask` where the shortest match is shorter than its mark."""
    least = sum(element.match.least if isinstance(element.match, Run) else len(element.match) for element in elements)
    if least < len(name) + 2:
        longest = f"a name of {least - 2} character{'s' * (least > 3)}" if least > 2 else "no mark"
        raise BadMask(
            named_at or next(element.position for element in elements if isinstance(element.match, Run)),
            f"the shortest match (bytes: {least}) leaves room for {longest}, because masking must not make lines longer; "
            f"ask for more characters, as in {{digits:3-}}{', or shorten the name' if least > 2 else ''}",
        )


def _check_neighbours(before: bytes | Run, after: _Element) -> None:
    """Raise `BadMask` where a class always takes what the next element needs. One exact length leaves the rest."""
    if isinstance(before, bytes) or before.least == before.most:
        return
    begins = after.match[:1] if isinstance(after.match, bytes) else after.match.members
    if set(begins) <= set(before.members):
        raise BadMask(
            after.position,
            "never comes, because the class before it takes this, too; give that class one exact length as in {digits:4}, "
            "or use {until:...}",
        )
