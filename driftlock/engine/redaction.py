"""Redaction rules: what must not be kept is taken out of records before anything is journaled, scored or named after them.

A rule says where it looks (the whole text, or the values of attributes by name), what for (a mask, a built-in kind of secret,
or the whole value) and what stands in its place: nothing at all (`drop`, with the attribute's name), `[name]` (`replace`), or
`[name:0123456789abcdef]` (`hash`), where equal values stay equal and nobody without the key can try values out.

There are no regular expressions. A line of n bytes costs at most n times the length of the rules' patterns, whatever is in it.
Everything here is pure; the language is told with examples in `docs/redaction.md`.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from string import ascii_letters, ascii_lowercase, digits
from types import MappingProxyType
from typing import NamedTuple

from cbad_cy import redact, tokenize
from cbad_cy.redact import Finder, Sought
from driftlock.engine.event import StreamKey
from driftlock.engine.masks import BadMask, parse_mask

RULES_MAX = redact.RULES_MAX // 2
"""Most rules of a tenant, and most of a stream besides."""

NAME_CHARS_MAX = 32
"""Longest name of a rule; it is made of a-z, 0-9, `_` and `-`."""

ATTRIBUTE_BYTES_MAX = redact.NAME_BYTES_MAX
"""Longest name of an attribute, bytes."""

GROWTH_BYTES_MAX = 16 * 1024
"""What redaction may add to a record, bytes; one that would grow by more is cut there."""

KEY_BYTES = 32
"""Length of a tenant's key for `hash`."""

HASH_BYTES = 8
"""Length of a hashed value, before it is written in hex."""

TEXT = "text"
ATTRIBUTE = "attribute:"
_NAME_CHARS = frozenset(ascii_lowercase + digits + "_-")
_ATTRIBUTE_CHARS = frozenset(ascii_letters + digits + "_.-/:@$")


class Action(StrEnum):
    """What becomes of what a rule finds."""

    DROP = "drop"
    REPLACE = "replace"
    HASH = "hash"


KINDS: Mapping[str, redact.Kind] = MappingProxyType(
    {kind.name.lower(): kind for kind in redact.Kind if kind not in (redact.Kind.WHOLE, redact.Kind.MASK)}
)
"""Built-in kinds of secrets, by name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Of `kind` and `mask` one at most is set; with neither the whole value of the attribute is meant."""

    name: str
    where: str = TEXT
    kind: str = ""
    mask: str = ""
    action: str = Action.REPLACE.value


class Wrong(NamedTuple):
    """What is wrong with a rule: its number from 0, its member, and what to do about it."""

    rule: int
    member: str
    detail: str


class Redacted(NamedTuple):
    """Lines one after another, the bytes of each, and how many of them are not what they were; `cut` of these were too long."""

    text: bytes
    lengths: "array[int]"
    records: int
    cut: int


def wrong_rules(rules: Sequence[Rule]) -> list[Wrong]:
    """All that is wrong with rules of a tenant or a stream; empty if nothing is.

    >>> wrong_rules([Rule("card", kind="credit_card")])
    []
    >>> wrong_rules([Rule("card", kind="cards")])[0].member
    'kind'
    """
    if len(rules) > RULES_MAX:
        detail = f"has {len(rules)} rules, at most {RULES_MAX} are possible (rules_max); join or remove some"
        return [Wrong(RULES_MAX, "", detail)]
    wrong: list[Wrong] = []
    for number, rule in enumerate(rules):
        told = {"name": _wrong_name(rule, rules[:number]), "where": _wrong_where(rule.where), **_wrong_sought(rule)}
        wrong.extend(Wrong(number, member, detail) for member, detail in told.items() if detail)
    return wrong


def _wrong_name(rule: Rule, before: Sequence[Rule]) -> str:
    if not 1 <= len(rule.name) <= NAME_CHARS_MAX or not _NAME_CHARS.issuperset(rule.name):
        return f"must have 1 to {NAME_CHARS_MAX} characters of a-z, 0-9, _ and - (name_chars_max)"
    if any(rule.name == other.name for other in before):
        return "is the name of a rule before; each rule needs a name of its own"
    return ""


def _wrong_where(where: str) -> str:
    if where == TEXT:
        return ""
    name = where.removeprefix(ATTRIBUTE)
    if name == where:
        return "must be text, or attribute:NAME, where NAME may end in * for all attributes that begin so"
    if name == "*":
        return ""
    name = name.removesuffix("*")
    size = len(name.encode("utf-8", "replace"))
    if not 1 <= size <= ATTRIBUTE_BYTES_MAX:
        return f"names an attribute of {size} bytes; 1 to {ATTRIBUTE_BYTES_MAX} are possible (attribute_bytes_max)"
    if any(char.isascii() and char not in _ATTRIBUTE_CHARS for char in name) or not name.isprintable():
        return "names an attribute with other characters than letters, digits and _ . - / : @ $ (* stands last, after others)"
    return ""


def _wrong_sought(rule: Rule) -> dict[str, str]:
    """What is wrong with what a rule looks for and does, by member."""
    wrong = {}
    if rule.kind and rule.mask:
        wrong["mask"] = "stands beside kind; give one of them, and make two rules for both"
    elif not rule.kind and not rule.mask and rule.where == TEXT:
        wrong["kind"] = "or mask is needed where the whole text is looked at; without both, a rule takes an attribute's value"
    if rule.kind and rule.kind not in KINDS:
        wrong["kind"] = f"must be one of {', '.join(KINDS)}"
    if rule.mask and "mask" not in wrong:
        try:
            if _is_named(rule.mask):
                wrong["mask"] = "has a name {as:...}; leave it out: the rule's own name is what stands in its place"
            else:
                parse_mask(rule.mask, may_grow=True)
        except BadMask as error:
            wrong["mask"] = error.message
    if rule.action not in list(Action):
        wrong["action"] = f"must be one of {', '.join(Action)}"
    elif rule.action == Action.DROP and rule.where == TEXT:
        wrong["action"] = "drop takes attributes away; use replace or hash where the whole text is looked at"
    return wrong


def _is_named(mask: str) -> bool:
    return parse_mask(mask, may_grow=True).name != b"M"


class Redactor:
    """Rules in force for a stream, ready to be applied. Immutable, shared by threads; equal texts give equal results."""

    __slots__ = ("_finder", "_hashes", "_key", "_marks", "_rules")

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        """`rules` are right (`wrong_rules`), `key` has `KEY_BYTES`. Raises ValueError for another key, `BadMask`."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key for hashes has {KEY_BYTES} bytes")
        self._rules = tuple(rules)
        self._finder = Finder([_sought(rule) for rule in rules])
        self._key = key
        self._hashes = tuple(rule.action == Action.HASH for rule in rules)
        self._marks = tuple(b"" if rule.action == Action.DROP else f"[{rule.name}]".encode() for rule in rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, the first one first."""
        return self._rules

    def columns(self, text: bytes, lengths: "array[int]") -> Redacted:
        """Lines of UTF-8 that stand one after another in `text`, of so many bytes each, as they may be kept."""
        found = self._finder.find(text, lengths)
        if found is None:
            return Redacted(text, lengths, 0, 0)
        marks = [
            self._mark(rule, start, end, text) for rule, start, end in zip(found.rules, found.starts, found.ends, strict=True)
        ]
        return Redacted(*redact.replaced(text, lengths, found, marks, GROWTH_BYTES_MAX))

    def counts(self, text: bytes, lengths: "array[int]") -> tuple[int, ...]:
        """How many places of such lines each rule decides, in the order of the rules; finds that overlap are one place."""
        found = self._finder.find(text, lengths)
        told = Counter(() if found is None else found.rules)
        return tuple(told[number] for number in range(len(self._rules)))

    def text(self, text: str) -> str:
        """One line as it may be kept; a surrogate, which no text has, becomes U+FFFD."""
        raw = text.encode("utf-8", "replace")
        return self.columns(raw, array("I", [len(raw)])).text.decode()

    def _mark(self, rule: int, start: int, end: int, text: bytes) -> bytes:
        """What stands in the place of text[start:end], which a rule has found."""
        if not self._hashes[rule]:
            return self._marks[rule]
        digest = blake2b(text[start:end], key=self._key, digest_size=HASH_BYTES).hexdigest()
        return b"[%s:%s]" % (self._rules[rule].name.encode(), digest.encode())


def _sought(rule: Rule) -> Sought:
    """A rule as the scanner takes it."""
    attribute, prefix = None, False
    if rule.where != TEXT:
        name = rule.where.removeprefix(ATTRIBUTE)
        prefix = name.endswith("*")
        attribute = name.removesuffix("*").encode()
    drops = rule.action == Action.DROP
    if not rule.mask:
        return Sought(KINDS[rule.kind] if rule.kind else redact.Kind.WHOLE, attribute, prefix, drops)
    pattern = parse_mask(rule.mask, may_grow=True)  # `[name]` may be longer than what was found
    elements = tuple(
        (element.members, element.least, element.most) if isinstance(element, tokenize.Run) else element
        for element in pattern.elements
    )
    return Sought(redact.Kind.MASK, attribute, prefix, drops, elements, pattern.starts_within, pattern.ends_within)


class TenantRules:
    """The rules in force for one tenant: its own hold in all of its streams, those of a stream besides, after them."""

    __slots__ = ("_everywhere", "_streams")

    def __init__(self, tenant: Sequence[Rule], streams: Mapping[StreamKey, Sequence[Rule]], key: bytes) -> None:
        """`key` is the tenant's, for `hash`."""
        self._everywhere = Redactor(tenant, key) if tenant else None
        self._streams = {it: Redactor((*tenant, *_others(rules, tenant)), key) for it, rules in streams.items() if rules}

    def of(self, stream: StreamKey) -> Redactor | None:
        """What records of a stream are redacted with; None where no rule is set for it."""
        return self._streams.get(stream, self._everywhere)


def _others(rules: Sequence[Rule], than: Sequence[Rule]) -> list[Rule]:
    """Rules without those that are there already."""
    return [rule for rule in rules if rule not in than]
