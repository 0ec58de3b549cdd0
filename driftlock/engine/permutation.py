"""The permutation test of a window: how often are lines drawn at random from window and baseline as hard to explain.

It is exact when lines are exchangeable. Lines of real streams come in bursts and are not, so a small p-value here is
evidence about content and never the decision about a window.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType

from cbad_cy.codec import Codec
from cbad_cy.permute import permute
from driftlock.errors import InvalidArgument

EXCEEDANCES_MAX = 10
"""The test stops with the draw that is this many-th to reach the window's statistic (Besag and Clifford's h)."""


@dataclass(frozen=True, slots=True)
class CodecCosts:
    """What the parts of a line cost under a codec, in bits, when it codes the line given a past; see `cbad_cy.permute`."""

    line_bits: int
    first_bits: int
    byte_bits: int
    order_bits: int


# Fitted once, coarsely, to what each codec makes of randomly drawn windows; only their ratios matter, and only to power:
# the test is exact whatever they are. A short look back (gzip, lz4) is not modelled.
CODEC_COSTS: Mapping[str, CodecCosts] = MappingProxyType(
    {
        "statistical": CodecCosts(line_bits=8, first_bits=12, byte_bits=3, order_bits=0),
        "zstd": CodecCosts(line_bits=34, first_bits=36, byte_bits=2, order_bits=8),
        "lz4": CodecCosts(line_bits=84, first_bits=60, byte_bits=3, order_bits=6),
        "gzip": CodecCosts(line_bits=32, first_bits=24, byte_bits=3, order_bits=16),
    }
)
"""Codec name -> what the parts of a line cost under it."""


@dataclass(frozen=True, slots=True)
class Permutation:
    """Outcome: `p_value` = (1 + exceedances) / (1 + draws), in (0, 1]; smaller = harder to explain by exchange.

    `draws` were made and in `exceedances` of them the drawn window cost at least as much as the real one.
    """

    p_value: float
    draws: int
    exceedances: int


def window_seed(stream_seed: int, window: int) -> int:
    """The seed of one window's test, 64 bits: a function of the stream's seed and the window's number."""
    return int.from_bytes(blake2b(f"{stream_seed}:{window}".encode(), digest_size=8).digest(), "little")


def permutation_test(
    window: Sequence[bytes],
    baseline: Sequence[tuple[bytes, int]],
    codec: Codec,
    *,
    seed: int,
    draws_max: int,
    exceedances_max: int = EXCEEDANCES_MAX,
) -> Permutation:
    """Test whether the masked lines of `window` are exchangeable with those of `baseline`, given as (form, count).

    One draw picks len(window) of all lines without replacement. It costs what `cbad_cy.permute` counts under the codec's
    `CODEC_COSTS`: no text is compressed again, and equal arguments give equal results on every machine and under every
    version of the codec's library. Order of lines and of forms does not matter.

    Sequential (Besag and Clifford, "Sequential Monte Carlo p-values", 1991): drawing ends with exceedance number
    `exceedances_max` or after `draws_max` draws. (1 + k) / (1 + m) is exact after all draws; after an early stop at m draws
    h / m would be, which (1 + h) / (1 + m) never undercuts, so the test is valid, at most slightly conservative.

    The smallest possible p-value is 1 / (1 + draws_max), and one new line alone can not go below about
    len(window) / all lines, the chance that a draw picks it. Raises InvalidArgument for an empty window and
    for `draws_max` or `exceedances_max` out of range.
    """
    inside = Counter(window)
    outside: dict[bytes, int] = {}
    for form, count in baseline:
        outside[form] = outside.get(form, 0) + count
    forms = sorted(inside.keys() | outside.keys())
    try:
        costs = CODEC_COSTS[codec.name]
        _, draws, exceedances = permute(
            b"".join(forms),
            array("I", map(len, forms)),
            array("I", [inside.get(form, 0) for form in forms]),
            array("I", [outside.get(form, 0) for form in forms]),
            line_bits=costs.line_bits,
            first_bits=costs.first_bits,
            byte_bits=costs.byte_bits,
            order_bits=costs.order_bits,
            seed=seed,
            draws_max=draws_max,
            exceedances_max=exceedances_max,
        )
    except ValueError as refused:
        raise InvalidArgument(f"permutation test: {refused}") from refused
    return Permutation((1 + exceedances) / (1 + draws), draws, exceedances)
