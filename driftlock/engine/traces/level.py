"""How strong the evidence about calls and traces has to be: how strict the stream's profile is."""

import math

BALANCED_P_VALUE = 0.05
"""The threshold for which the kernels' own level stands: that of the profile `balanced`."""

BITS_A_DECADE = math.log2(10)
"""How much higher the level, which is in bits, is for alarms ten times rarer."""


def trace_level(kernel_level: float, p_value_threshold: float) -> float:
    """The level in bits from which on calls and traces alarm: `kernel_level` + log2(`BALANCED_P_VALUE` / threshold).

    It says how profiles stand to each other: the evidence is that of false alarms in proportion to the threshold. The threshold
    is no promise of a rate. Rounded to thousandths, so that it is the same on every machine.

    >>> [trace_level(20.0, threshold) for threshold in (0.10, 0.05, 0.01)]
    [19.0, 20.0, 22.322]
    """
    return round(kernel_level + BITS_A_DECADE * math.log10(BALANCED_P_VALUE / p_value_threshold), 3)


def p_value_at(kernel_level: float, bits: float) -> float:
    """The threshold for which so many bits would just alarm, at most 1: the inverse of `trace_level`.

    >>> [p_value_at(34.0, bits) for bits in (33.0, 34.0, 44.0, 10.0)]
    [0.1, 0.05, 4.8828125e-05, 1.0]
    """
    return min(1.0, BALANCED_P_VALUE * math.pow(2.0, kernel_level - bits))
