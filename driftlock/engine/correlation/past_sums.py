"""How rare a number is among those that came before it: a decaying histogram with an exponential tail."""

from dataclasses import dataclass, field

from cbad_cy.pooled import digits_of

BIN = 0.5
BINS = 160
"""Numbers from 0 up to 80; larger ones count as 80 in the past, never in the judgement."""

TAIL_SHARE = 0.1
"""Above the largest numbers that make up this share of the past the tail begins."""

TAIL_MEAN, TAIL_WEIGHT = 1.0, 50.0
"""The mean excess of the tail is this after nothing, as if so many had been seen: cautious until the past is long."""

FADING = 0.9999
STRANGE_DIGITS = 3.0
STRANGE_SHARE = 0.25
"""What was stranger than that enters the past with this share of its weight."""

NUMBERS_MIN = 5
WEIGHT_MOST = 1e4
DIGITS_MOST = 30.0
LN_10 = 2.302585092994046


@dataclass(slots=True)
class PastSums:
    """Numbers >= 0, mostly small. `weight` is that of the next one (it grows by 1/`FADING`, so that older ones fade).

    `bins` has the weight of each bin that has any.
    """

    weight: float = 1.0
    total: float = 0.0
    seen: int = 0
    bins: dict[int, float] = field(default_factory=dict)

    def judge(self, number: float) -> float:
        """-log10 of the probability of a number as large as this, by the numbers before it; then it is one of them.

        0 for the first few. Inside the past the share of larger ones, half of the equals among them; beyond, where the tail
        begins, an exponential whose mean is that of the excesses, drawn towards `TAIL_MEAN`.
        """
        at = min(int(number / BIN), BINS - 1)
        digits = self._digits(number, at) if self.seen >= NUMBERS_MIN else 0.0
        added = self.weight if digits < STRANGE_DIGITS else self.weight * STRANGE_SHARE
        self.bins[at] = self.bins.get(at, 0.0) + added
        self.total += added
        self.seen = min(self.seen + 1, NUMBERS_MIN)
        self.weight /= FADING
        if self.weight > WEIGHT_MOST:
            self._shrink()
        return digits

    def _digits(self, number: float, at: int) -> float:
        need = TAIL_SHARE * self.total
        above, moment, border = 0.0, 0.0, max(at, *self.bins)
        for place in sorted(self.bins, reverse=True):
            if above + self.bins[place] > need:
                border = place
                break
            above += self.bins[place]
            moment += self.bins[place] * (place + 0.5)
        if at <= border:
            larger = sum(weight for place, weight in sorted(self.bins.items()) if place > at)
            share = larger + 0.5 * self.bins.get(at, 0.0) + 0.5 * self.weight
            return digits_of(min(1.0, share / (self.total + self.weight)))
        start = (border + 1) * BIN
        excess = max(0.0, moment * BIN - above * start) / self.weight
        mean = (excess + TAIL_MEAN * TAIL_WEIGHT) / (above / self.weight + TAIL_WEIGHT)
        share = digits_of(min(1.0, (above + 0.5 * self.weight) / (self.total + self.weight)))
        return min(DIGITS_MOST, share + (number - start) / (mean * LN_10))

    def _shrink(self) -> None:
        """Divide all weights, so that they stay small; only their ratios mean something."""
        self.bins = {place: weight / WEIGHT_MOST for place, weight in self.bins.items()}
        self.total /= WEIGHT_MOST
        self.weight /= WEIGHT_MOST
