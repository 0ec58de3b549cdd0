"""Oracle of the statistical coder in plain Python: unbounded dictionaries instead of a table; slow and readable.

Tests compare; nothing else imports this. It forgets by halving as the kernel does, but never for want of room.
"""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from cbad_cy.codelength import BIT, CAP_BITS, HALVING_EVENTS, TOKENS_LEARNED_MAX, VALUES_MAX
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

    def cost(self, line: bytes, slots: Sequence[int], before: bytes | None) -> int:
        """The code length in 1/BIT bit; `before` is the line before, None at the beginning."""
        n, known = self.share("template", line)
        follows = ("template", before)
        if n:
            parts = [-math.log2(self.blend(follows, line, n / (known.total + known.distinct)))]
        else:
            parts = [-math.log2(self.escape("template") * self.escape(follows))]
            parts.append(sum(-math.log2(p) for p in self.token_shares(line)))
        parts.append(-math.log2(math.prod(self.slot_share(line, *slot) for slot in enumerate(slots[:SLOTS_MAX]))))
        return min(sum(math.floor(part * BIT + 0.5) for part in parts), CAP_BITS * BIT)

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
            known.closed = known.distinct > VALUES_MAX or (known.distinct >= 16 and 2 * known.distinct > known.total)

    def _halve(self) -> None:
        for known in self.contexts.values():
            known.total = max(1, known.total // 2)
            known.distinct = max(1, known.distinct // 2)
            if known.closed and known.total == 1:
                known.closed, known.distinct = False, 1
        self.counts = {key: max(1, n // 2) for key, n in self.counts.items()}
