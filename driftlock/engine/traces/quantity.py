"""Durations, shares and counts as people say them."""

from driftlock.engine.numbers.wording import number

_DIGITS = (3, 4)
_SECONDS = ((120.0, 60.0, "minutes"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"), (1e-6, 1e-6, "us"), (0.0, 1e-9, "ns"))


def quantity(value: float, unit: str, digits: int = _DIGITS[0]) -> str:
    """A value in seconds ("s"), as a share ("1") or a count ("calls"), with so many significant digits.

    >>> [quantity(value, "s") for value in (1.2345, 0.0031, 2.5e-05, 0.0, 301.0)]
    ['1.23 s', '3.1 ms', '25 us', '0 s', '5.02 minutes']
    >>> quantity(0.12345, "1"), quantity(3.0, "calls"), quantity(0.9996, "s")
    ('12.3 %', '3', '1 s')
    """
    if unit == "1":
        return f"{number(100 * value, digits)} %"
    if unit != "s":
        return number(value, digits)
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0 s"
    scale, name = next((scale, name) for least, scale, name in _SECONDS if abs(rounded) >= least)
    return f"{number(rounded / scale, digits)} {name}"


def beside(value: float, usual: float, unit: str) -> tuple[str, str]:
    """What came and what is usual, with as many digits, three or four, as it takes that they look different if that can be.

    >>> beside(1.2, 0.003, "s"), beside(0.10012, 0.10024, "s")
    (('1.2 s', '3 ms'), ('100.1 ms', '100.2 ms'))
    """
    for digits in _DIGITS:
        shown = quantity(value, unit, digits), quantity(usual, unit, digits)
        if shown[0] != shown[1]:
            break
    return shown
