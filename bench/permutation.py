"""`python -m bench.permutation`: the permutation test against one that compresses every permutation again.

Both see the same draws, so they differ by their statistic alone. The recompressing test prepares, for every draw, the lines
that are left as a dictionary and compresses the drawn lines given it. What it finds depends on the order in which lines
happen to stand: a match goes on into the next line when that line stood next before. Lines are therefore put into a random
order, the real window's as well as every draw's, and this several times: how often the recompressing test agrees with itself
in another order bounds what any other test can reach. A decision it takes in all orders alike is called settled.
"""

import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice, pairwise
from statistics import fmean
from typing import Any

from bench.data import loaders
from bench.report import report
from cbad_cy.codec import Codec
from cbad_cy.tokenize import mask
from driftlock.engine.permutation import EXCEEDANCES_MAX, permutation_test
from driftlock.engine.profile import DEFAULT_CODEC
from tests.cbad_cy.exchanges import by_form, exchanged
from tests.engine.streams import bursty, iid, take

WINDOW, BASELINE = 50, 400
DRAWS = 1000
ORDERS = 4
LEVELS = (0.05, 0.01)
ALIENS = (0, 1, 3, 10)
POSITIONS = 7
SYNTHETIC_SEEDS = (21, 22, 23)
SYNTHETIC_LINES = 6000
HDFS_LINES = 100_000
SYSTEMS = ("BGL", "OpenSSH", "Apache", "Linux", "Thunderbird")
SEED = 2026


@dataclass(frozen=True, slots=True)
class Case:
    """Masked lines of a window and of the baseline before it; `aliens` lines of the window come from another stream."""

    stream: str
    aliens: int
    window: list[bytes]
    baseline: list[bytes]
    seed: int

    @property
    def counts(self) -> list[tuple[bytes, int]]:
        """The baseline's distinct lines and how many there are of each, as the detector keeps them."""
        return list(Counter(self.baseline).items())

    def draws(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """The draws that the test without recompression makes."""
        return islice(exchanged(by_form(self.window, self.baseline), len(self.window), self.seed), DRAWS)


def exchange(case: Case, counts: Sequence[tuple[bytes, int]], codec: Codec, exceedances_max: int = DRAWS + 1) -> float:
    """The p-value without recompression, by default after all draws."""
    outcome = permutation_test(case.window, counts, codec, seed=case.seed, draws_max=DRAWS, exceedances_max=exceedances_max)
    return outcome.p_value


def masked(lines: Sequence[bytes]) -> list[bytes]:
    """What the detector sees of lines."""
    text, lengths = mask(b"".join(lines), array("I", map(len, lines)), line_bytes_max=4096)
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return [text[start:end] for start, end in pairwise(ends)]


def streams() -> Iterator[tuple[str, list[bytes]]]:
    """Synthetic and public streams."""
    for seed in SYNTHETIC_SEEDS:
        yield "synthetic, independent", masked(take(iid(seed), SYNTHETIC_LINES))
        yield "synthetic, bursty", masked(take(bursty(seed), SYNTHETIC_LINES))
    data = loaders()
    yield "HDFS", masked([text.encode() for _, text, _, _ in islice(data.hdfs_lines(), HDFS_LINES)])
    for system in SYSTEMS:
        yield system, masked([text.encode() for _, text, _, _ in data.loghub(system)])


def cases(positions: int) -> list[Case]:
    """Windows at random positions of every stream, each as it is and with 1, 3 and 10 lines of other streams."""
    rng, known = random.Random(SEED), list(streams())
    found: list[Case] = []
    for number, (stream, lines) in enumerate(known):
        others = known[:number] + known[number + 1 :]
        for _ in range(positions):
            at = rng.randrange(len(lines) - BASELINE - WINDOW)
            past, now = lines[at : at + BASELINE], lines[at + BASELINE : at + BASELINE + WINDOW]
            for aliens in ALIENS:
                window = list(now)
                for place in rng.sample(range(WINDOW), aliens):
                    window[place] = rng.choice(rng.choice(others)[1])
                found.append(Case(stream, aliens, window, past, len(found)))
    return found


def recompressed(codec: Codec, window: Sequence[bytes], rest: Sequence[bytes]) -> int:
    """C(window given rest)."""
    return codec.size_given(b"\n".join(window), codec.prepare(b"\n".join(rest)))


def rank(observed: int, drawn: Sequence[int]) -> float:
    """The p-value (1 + k) / (1 + m)."""
    return (1 + sum(cost >= observed for cost in drawn)) / (1 + len(drawn))


@dataclass(frozen=True, slots=True)
class Compared:
    """p-values of one case: without recompression, recompressing in each random order, and with the window as it came."""

    case: Case
    exchange: float
    orders: tuple[float, ...]
    as_it_came: float

    def settled(self, level: float) -> bool:
        """Whether recompression decides alike in all orders."""
        return len({p <= level for p in self.orders}) == 1

    def agrees(self, level: float) -> float:
        """Share of the orders in which recompression decides as the test without it."""
        return fmean((p <= level) == (self.exchange <= level) for p in self.orders)

    def agrees_with_itself(self, level: float) -> float:
        """Share of pairs of orders in which recompression decides alike."""
        return fmean((p <= level) == (q <= level) for p, q in combinations(self.orders, 2))


def compare(case: Case, codec: Codec) -> Compared:
    """Run both tests on the same draws."""
    rng = random.Random(case.seed)

    def in_orders(window: list[bytes], rest: list[bytes]) -> list[int]:
        costs = []
        for _ in range(ORDERS):
            rng.shuffle(window)
            rng.shuffle(rest)
            costs.append(recompressed(codec, window, rest))
        return costs

    observed = in_orders(list(case.window), list(case.baseline))
    drawn = list(zip(*(in_orders(window, rest) for window, rest in case.draws()), strict=True))
    return Compared(
        case,
        exchange(case, case.counts, codec),
        tuple(rank(cost, costs) for cost, costs in zip(observed, drawn, strict=True)),
        rank(recompressed(codec, case.window, case.baseline), drawn[0]),
    )


def agreement_rows(compared: Sequence[Compared]) -> list[dict[str, object]]:
    """Shares of equal decisions, for all windows, by how many lines are alien, and by stream."""
    groups: dict[str, list[Compared]] = {"all": list(compared)}
    for one in compared:
        groups.setdefault(f"{one.case.aliens} alien lines", []).append(one)
    for one in compared:
        groups.setdefault(one.case.stream, []).append(one)
    rows = []
    for name, members in groups.items():
        row: dict[str, object] = {"windows": name, "n": len(members)}
        for level in LEVELS:
            settled = [one for one in members if one.settled(level)]
            row |= {
                f"agree {level}": fmean(one.agrees(level) for one in members),
                f"itself {level}": fmean(one.agrees_with_itself(level) for one in members),
                f"settled {level}": len(settled),
                f"agree if settled {level}": fmean(one.agrees(level) for one in settled) if settled else None,
                f"as it came {level}": fmean((one.as_it_came <= level) == (one.exchange <= level) for one in members),
            }
        rows.append(row)
    return rows


def disagreement_rows(compared: Sequence[Compared]) -> list[dict[str, object]]:
    """Every window that the two tests decide differently in some order."""
    return [
        {
            "stream": one.case.stream,
            "aliens": one.case.aliens,
            "level": level,
            "p": one.exchange,
            "recompressed": " ".join(f"{p:.3f}" for p in one.orders),
            "as it came": one.as_it_came,
            "settled": "yes" if one.settled(level) else "no",
        }
        for one in compared
        for level in LEVELS
        if one.agrees(level) < 1
    ]


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Best of several runs."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def all_given(codec: Codec, draws: Sequence[tuple[list[bytes], list[bytes]]]) -> None:
    """C(window given rest) of every draw."""
    for window, rest in draws:
        recompressed(codec, window, rest)


def all_joined(codec: Codec, draws: Sequence[tuple[list[bytes], list[bytes]]]) -> None:
    """C(rest and window) of every draw, which saves preparing a dictionary."""
    for window, rest in draws:
        codec.size(b"\n".join(rest + window))


def cost_row(case: Case, codec: Codec) -> dict[str, Any]:
    """Milliseconds of one test of 1,000 draws; the recompressing side gets its draws for nothing."""
    counts, draws = case.counts, list(case.draws())
    ours = seconds(partial(exchange, case, counts, codec), 5)
    early = seconds(partial(exchange, case, counts, codec, EXCEEDANCES_MAX), 5)
    given = seconds(partial(all_given, codec, draws), 3)
    joined = seconds(partial(all_joined, codec, draws), 3)
    return {
        "pool": case.stream,
        "aliens": case.aliens,
        "forms": len({*case.window, *case.baseline}),
        "exchange ms": 1000 * ours,
        "stopping early ms": 1000 * early,
        "C(W given B) ms": 1000 * given,
        "C(BW) ms": 1000 * joined,
        "times cheaper": given / ours,
        "than C(BW)": joined / ours,
    }


def cost_rows(codec: Codec) -> list[dict[str, object]]:
    """One normal and one clearly anomalous window of each stream, and the means of all."""
    chosen: dict[tuple[str, int], Case] = {}
    for case in cases(1):
        if case.aliens in (min(ALIENS), max(ALIENS)):
            chosen.setdefault((case.stream, case.aliens), case)
    rows = [cost_row(case, codec) for case in chosen.values()]
    total = {name: fmean(row[name] for row in rows) for name in rows[0] if name.endswith(" ms")}
    return [
        *rows,
        {
            "pool": "mean",
            "aliens": "",
            "forms": "",
            **total,
            "times cheaper": total["C(W given B) ms"] / total["exchange ms"],
            "than C(BW)": total["C(BW) ms"] / total["exchange ms"],
        },
    ]


def main() -> None:
    """Run and report."""
    codec = Codec(DEFAULT_CODEC)
    report("permutation-cost", f"one permutation test of {DRAWS} draws, {WINDOW} lines against {BASELINE}", cost_rows(codec))
    compared = [compare(case, codec) for case in cases(POSITIONS)]
    report("permutation", "decisions without and with recompression, on the same draws", agreement_rows(compared))
    report("permutation-disagreements", "windows decided differently in some order of their lines", disagreement_rows(compared))


if __name__ == "__main__":
    main()
