"""Inputs of the offline commands' tests: small streams that do alarm, under a profile that does so soon."""

import random
from string import ascii_lowercase

from driftlock.engine.profile import PROFILES, custom

CHANGES = {
    "--baseline": ("baseline_size", 30),
    "--window": ("window_size", 8),
    "--hop": ("hop_size", 3),
    "--p-value": ("p_value_threshold", 0.4),
    "--ncd-threshold": ("ncd_threshold", 0.1),
    "--permutations": ("permutations_max", 19),
}
SMALL = custom(PROFILES["sensitive"], dict(CHANGES.values()))
SMALL_OPTIONS = ("--profile=sensitive", *(f"{option}={value}" for option, (_, value) in CHANGES.items()))
FIRST_S = 1_700_000_000


def texts(count: int, seed: int = 7) -> list[str]:
    """Lines of a service with three short stretches in which it says words that nobody knows."""
    source = random.Random(seed)
    odd = {at + offset for at in (count // 2, count * 2 // 3, count * 9 // 10) for offset in range(0, 12, 2)}
    lines = []
    for index in range(count):
        if index in odd:
            lines.append(" ".join("".join(source.choices(ascii_lowercase, k=9)) for _ in range(5)))
        elif source.random() < 0.7:
            lines.append(f"GET /cart/{source.randrange(1000)} 200 took {source.randrange(90)} ms")
        else:
            lines.append(f"cache hit for item {source.randrange(10_000)}")
    return lines
