"""Oracle of the statistical coder in plain Python: unbounded dictionaries instead of a table; slow and readable.

Tests compare; nothing else imports this. It forgets by halving as the kernel does, but never for want of room.
"""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from cbad_cy.codelength import BIT, CAP_BITS, HALVING_EVENTS, MARKS_MAX, TOKENS_LEARNED_MAX, VALUES_MAX
from cbad_cy.tokenize import SLOTS_MAX

_TOKEN: Final = re.compile(rb"<[A-Z]>|<IP>|[0-9A-Za-z_#\x80-\xff]+|[^ \t-\r]")
_NUMBER: Final = re.compile(rb"-?([0-9]+)(?:\.([0-9]+))?")
_FULL: Final = 65533
_END: Final = b""


def bucket(slot: bytes) -> int:
    """The upper 8 bits of a slot's number, from its text as `cbad_cy.tokenize.slots` gives it."""
    number = _NUMBER.fullmatch(slot)
    if number is None:
        return 160 + min(len(slot), 95)
    whole, decimals = min(int(number[1]), 10**18), (number[2] or b"")[:9]
    if whole >= 2**53:
        return (whole * whole).bit_length() + 20
    scaled = math.floor((whole + Fraction(int(decimals or 0), 10 ** len(decimals))) * 1024)
    return (scaled * scaled).bit_length()  # 0 of 0, else 1 + floor(log2(x^2))


def token_spans(line: bytes) -> list[tuple[int, int]]:
    """Where the tokens of a masked line are, the empty one at its end included."""
    return [match.span() for match in _TOKEN.finditer(line)] + [(len(line), len(line))]


def _whole(bits: float) -> int:
    """In 1/BIT bit, at most the cap."""
    return min(math.floor(bits * BIT + 0.5), CAP_BITS * BIT)


@dataclass
class Context:
    """How many symbols came, how many distinct ones; a closed one is a slot whose values are not kept."""

    total: int = 0
    distinct: int = 0
    closed: bool = False


class Coder:
    """As `cbad_cy.codelength.Coder` with room for everything."""

    def __init__(self, halving_events: int = HALVING_EVENTS) -> None:
        self.halving_events, self.events = halving_events, 0
        self.contexts: dict[Hashable, Context] = {}
        self.counts: dict[tuple[Hashable, Hashable], int] = {}

    def share(self, context: Hashable, symbol: Hashable) -> tuple[int, Context]:
        """n(c, s), and N(c) with D(c)."""
        known = self.contexts.get(context, Context())
        return min(self.counts.get((context, symbol), 0), known.total), known

    def blend(self, context: Hashable, symbol: Hashable, lower: float) -> float:
        """Witten and Bell's rule."""
        n, known = self.share(context, symbol)
        return (n + known.distinct * lower) / (known.total + known.distinct) if known.total else lower

    def escape(self, context: Hashable) -> float:
        """The share of what is new."""
        known = self.contexts.get(context)
        return known.distinct / (known.total + known.distinct) if known else 1.0

    def add(self, context: Hashable, symbol: Hashable) -> None:
        """Count a symbol."""
        known = self.contexts.setdefault(context, Context())
        if known.total >= _FULL:
            return
        known.distinct += (context, symbol) not in self.counts
        self.counts[context, symbol] = min(self.counts.get((context, symbol), 0), known.total) + 1
        known.total += 1

    def token_shares(self, line: bytes) -> list[float]:
        """The probability of each token and of the end."""
        shares, before, last = [], _END, _END
        for start, stop in token_spans(line):
            token = line[start:stop]
            p = 2.0 ** -(2 + 4.5 * min(max(1, len(token)), 24))
            for context in ("token", ("token", last), ("token", before, last)):
                p = self.blend(context, token, p)
            shares.append(p)
            before, last = last, token
        return shares

    def slot_share(self, line: bytes, position: int, slot: int) -> float:
        """The probability of a slot."""
        if ("bucket", line, position) not in self.contexts:
            return 3 / 4
        p = self.blend(("bucket", line, position), slot >> 56, 1 / 64)
        n, known = self.share(("value", line, position), slot)
        if known.total == 0 or known.closed:
            return p
        if n:
            return self.blend(("value", line, position), slot, p)
        return self.escape(("value", line, position)) * max(p, 1 / 64)

    def parts(self, line: bytes, slots: Sequence[int], before: bytes | None) -> tuple[int, int, int]:
        """Code length in 1/BIT bit of template, tokens (0: the template is known) and slots."""
        n, known = self.share("template", line)
        follows, tokens = ("template", before), 0
        if n:
            template = -math.log2(self.blend(follows, line, n / (known.total + known.distinct)))
        else:
            template = -math.log2(self.escape("template") * self.escape(follows))
            tokens = _whole(sum(-math.log2(p) for p in self.token_shares(line)))
        coded = math.prod(self.slot_share(line, *slot) for slot in enumerate(slots[:SLOTS_MAX]))
        return _whole(template), tokens, _whole(-math.log2(coded))

    def cost(self, line: bytes, slots: Sequence[int], before: bytes | None) -> int:
        """The code length in 1/BIT bit; `before` is the line before, None at the beginning."""
        return min(sum(self.parts(line, slots, before)), CAP_BITS * BIT)

    def marks(self, line: bytes, slots: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """(start, stop, slot, bits in 1/BIT) of the dearest parts, 4 bits at least: tokens of a new line, then slots."""
        found = []
        if not self.share("template", line)[0]:
            spans = zip(token_spans(line)[:-1][:TOKENS_LEARNED_MAX], self.token_shares(line), strict=False)
            found = [(start, stop, -1, _whole(-math.log2(p))) for (start, stop), p in spans]
        for position, slot in enumerate(slots[:SLOTS_MAX]):
            found.append((0, 0, position, _whole(-math.log2(self.slot_share(line, position, slot)))))
        found = [mark for mark in found if mark[3] >= 4 * BIT]
        while len(found) > MARKS_MAX:  # of equals the last one goes, and of those kept before it the first
            excess = found[: MARKS_MAX + 1]
            bits = min(mark[3] for mark in excess[:-1])
            gone = MARKS_MAX if excess[-1][3] <= bits else [mark[3] for mark in excess].index(bits)
            del found[gone]
        return found

    def learn(self, line: bytes, slots: Sequence[int], before: bytes | None) -> None:
        """Count an event."""
        sightings = self.share("template", line)[0]
        self.add("template", line)
        self.add(("template", before), line)
        if sightings < 2:
            self._learn_tokens(line)
        for position, slot in enumerate(slots[:SLOTS_MAX]):
            self._learn_slot(line, position, slot)
        self.events += 1
        if self.events == self.halving_events:
            self.events = 0
            self._halve()

    def _learn_tokens(self, line: bytes) -> None:
        last, before = _END, _END
        for start, stop in token_spans(line)[:TOKENS_LEARNED_MAX]:
            token = line[start:stop]
            for context in ("token", ("token", last), ("token", before, last)):
                self.add(context, token)
            before, last = last, token

    def _learn_slot(self, line: bytes, position: int, slot: int) -> None:
        self.add(("bucket", line, position), slot >> 56)
        known = self.contexts.setdefault(("value", line, position), Context())
        if not known.closed:
            self.add(("value", line, position), slot)
            known.closed = known.distinct > VALUES_MAX or (known.distinct >= 8 and 2 * known.distinct > known.total)

    def _halve(self) -> None:
        for known in self.contexts.values():
            known.total = max(1, known.total // 2)
            known.distinct = max(1, known.distinct // 2)
            if known.closed and known.total == 1:
                known.closed, known.distinct = False, 1
        self.counts = {key: max(1, n // 2) for key, n in self.counts.items()}


def lines_size(text: bytes, past: bytes = b"", halving_events: int = HALVING_EVENTS) -> int:
    """Bytes of masked lines, newlines between them, as the codec of this name counts: each coded given all before it."""
    coder, bits = Coder(halving_events), 0
    for lines in (past, text):
        before, bits = None, 0
        for line in lines.removesuffix(b"\n").split(b"\n") if lines else ():
            bits += coder.cost(line, (), before)
            coder.learn(line, (), before)
            before = line
    return 1 + math.ceil(bits / (8 * BIT))
