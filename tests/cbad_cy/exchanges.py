"""Oracle of the permutation kernel: every draw's cost counted from the texts of its two sides, nothing precomputed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

MASK = 2**64 - 1
WORDS = re.compile(rb"[A-Za-z0-9_\x80-\xff]+|[^A-Za-z0-9_\x80-\xff]+")
END = b""  # no word is empty


def splitmix64(seed: int) -> Iterator[int]:
    state = seed
    while True:
        state = state + 0x9E3779B97F4A7C15 & MASK
        x = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
        yield x ^ x >> 31


def halves(outputs: Iterator[int]) -> Iterator[int]:
    for output in outputs:
        yield from divmod(output, 2**32)


def below(numbers: Iterator[int], bound: int) -> int:
    """Lemire's bounded integer: of 2**32 numbers, bound * floor(2**32 / bound) are used."""
    while True:
        high, low = divmod(next(numbers) * bound, 2**32)
        if low >= 2**32 % bound:
            return high


def exchanged(lines: Sequence[bytes], window: int, seed: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Endless random (window, rest) of the lines, the real window first among them."""
    numbers, pool = halves(splitmix64(seed)), list(lines)
    while True:
        for i in range(window):
            j = i + below(numbers, len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        yield pool[:window], pool[window:]


def words(line: bytes) -> list[bytes]:
    return WORDS.findall(line)


def runs(line: bytes) -> list[tuple[bytes, bytes, bytes]]:
    ended = [END, *words(line), END]
    return list(zip(ended, ended[1:], ended[2:], strict=False))


def statistic(window: Sequence[bytes], rest: Sequence[bytes], line: int, first: int, byte: int, order: int) -> int:
    lines = Counter([*window, *rest])
    total = lines.total()
    new_words = {w for form in window for w in words(form)} - {w for form in rest for w in words(form)}
    new_runs = {r for form in window for r in runs(form)} - {r for form in rest for r in runs(form)}
    return (
        sum(line * (total - lines[form]) // total for form in window)
        + first * len(set(window))
        + byte * sum(map(len, new_words))
        + order * len(new_runs)
    )


def by_form(window: Sequence[bytes], rest: Sequence[bytes]) -> list[bytes]:
    """All lines in the order in which the kernel lays them out: the window by form, then the rest by form."""
    return sorted(window) + sorted(rest)


def permute(
    window: Sequence[bytes], rest: Sequence[bytes], costs: tuple[int, int, int, int], seed: int, draws_max: int, stop: int
) -> tuple[int, int, int]:
    """(statistic, draws, exceedances)"""
    observed = statistic(window, rest, *costs)
    draws = exceedances = 0
    for drawn, remaining in islice(exchanged(by_form(window, rest), len(window), seed), draws_max):
        draws += 1
        exceedances += statistic(drawn, remaining, *costs) >= observed
        if exceedances == stop:
            break
    return observed, draws, exceedances
