"""What is done to a stream from one position on. Pure functions of the lines, the position and the random numbers given."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.quality.streams import masked
from bench.quality.windows import BALANCED

WINDOW = BALANCED.window_size
HISTORY_LINES = 2000
USUAL_SHARES = (0.05, 0.5)
RARE_SHARES = (0.001, 0.02)
RARE_FACTOR = 10
INSTANCES = 50


@dataclass(frozen=True, slots=True)
class Site:
    """A position in a normal stream, with the masked form of every line and foreign lines of foreign forms."""

    lines: Sequence[bytes]
    forms: Sequence[bytes]
    aliens: Sequence[bytes]
    position: int
    seed: int

    def rng(self, change: str) -> random.Random:
        """The random numbers of one change here; those of k = 1 are also the first of k = 10."""
        return random.Random(f"{self.seed}:{self.position}:{change}")

    def shares(self) -> dict[bytes, float]:
        """Shares of the forms in the history before the position, most common first."""
        past = self.forms[max(0, self.position - HISTORY_LINES) : self.position]
        return {form: count / len(past) for form, count in Counter(past).most_common()}


@dataclass(slots=True)
class Setting:
    """A clean stream, foreign lines for it, and where it is changed."""

    name: str
    lines: list[bytes]
    aliens: list[bytes]
    positions: list[int] = field(default_factory=list)

    def sites(self) -> list[Site]:
        """The positions, in order."""
        forms = masked(self.lines)
        return [Site(self.lines, forms, self.aliens, position, seed) for seed, position in enumerate(self.positions)]


Change = Callable[[Site, int], list[bytes] | None]
"""The changed lines that stand in the place of the stream's next ones, or None where the change is not possible."""


def control(site: Site, k: int) -> list[bytes] | None:
    """Nothing changed for k windows: what alarms here is a false alarm."""
    return list(site.lines[site.position : site.position + k * WINDOW])


def _replaced(site: Site, strange: Sequence[bytes], rng: random.Random) -> list[bytes]:
    window = list(site.lines[site.position : site.position + WINDOW])
    for place, line in zip(rng.sample(range(WINDOW), WINDOW), strange, strict=False):
        window[place] = line
    return window


def different_aliens(site: Site, k: int) -> list[bytes] | None:
    """k of 50 lines replaced by different lines of other systems."""
    rng = site.rng("aliens")
    return _replaced(site, rng.sample(site.aliens, k), rng)


def identical_aliens(site: Site, k: int) -> list[bytes] | None:
    """k of 50 lines replaced by one line of another system, k times."""
    rng = site.rng("aliens")
    return _replaced(site, rng.sample(site.aliens, 1) * k, rng)


def rare_line(site: Site, k: int) -> list[bytes] | None:
    """For k windows, a form with a share of .1 to 2 % of the history at ten times its rate, at random places."""
    rng, shares = site.rng("rare"), site.shares()
    rare = [form for form, share in shares.items() if RARE_SHARES[0] <= share <= RARE_SHARES[1]]
    if not rare:
        return None
    form = rng.choice(rare)
    examples = [i for i in range(max(0, site.position - HISTORY_LINES), site.position) if site.forms[i] == form]
    lines = list(site.lines[site.position : site.position + k * WINDOW])
    count = max(1, round(RARE_FACTOR * shares[form] * len(lines)))
    for place in rng.sample(range(len(lines)), min(count, len(lines))):
        lines[place] = site.lines[rng.choice(examples)]
    return lines


def missing_line(site: Site, k: int) -> list[bytes] | None:
    """For k windows, no line of the most common form with a share of 5 to 50 %; later lines move up."""
    usual = [form for form, share in site.shares().items() if USUAL_SHARES[0] <= share <= USUAL_SHARES[1]]
    if not usual:
        return None
    ahead = range(site.position, len(site.lines))
    rest = [site.lines[i] for i in ahead if site.forms[i] != usual[0]]
    return rest[: k * WINDOW] if len(rest) >= k * WINDOW else None


def shuffled(site: Site, k: int) -> list[bytes] | None:
    """The next k windows' lines in random order."""
    lines = list(site.lines[site.position : site.position + k * WINDOW])
    site.rng("shuffled").shuffle(lines)
    return lines


def bad_instance(site: Site, k: int) -> list[bytes] | None:
    """One of fifty instances logs different foreign lines for k windows: each line is its with probability 1/50."""
    rng = site.rng("instance")
    lines = list(site.lines[site.position : site.position + k * WINDOW])
    return [rng.choice(site.aliens) if rng.random() < 1 / INSTANCES else line for line in lines]


def stuck_instance(site: Site, k: int) -> list[bytes] | None:
    """One of fifty instances logs one foreign line again and again, for k windows."""
    rng = site.rng("instance")
    alien = rng.choice(site.aliens)
    lines = list(site.lines[site.position : site.position + k * WINDOW])
    return [alien if rng.random() < 1 / INSTANCES else line for line in lines]


CHANGES: dict[str, Change] = {
    "nothing, k windows": control,
    "k different foreign lines": different_aliens,
    "k identical foreign lines": identical_aliens,
    "rare line x10, k windows": rare_line,
    "usual line missing, k windows": missing_line,
    "order shuffled, k windows": shuffled,
    "1 of 50 instances bad, k windows": bad_instance,
    "1 of 50 instances stuck, k windows": stuck_instance,
}
INSTANCE_CHANGES = tuple(CHANGES)[-2:]
SIZES = (1, 2, 5, 10)
