"""Numbers as decimal text, the same on every machine: no libm, no printf, no locale.

`double_text` gives the shortest digits that are read back as the same double, of several the closest to it: Raffaello Giulietti, "The
Schubfach way to render doubles" (2020). A double is a multiple c 2^q; all decimals that are read back as it lie in an interval around
it, and the longest power of ten 10^k that fits between its ends leaves at most two candidates with that exponent and one with the
next, told apart by products with a 128-bit power of ten. The text is laid out as by Python's repr.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    ctypedef unsigned long long double_product "unsigned __int128"

cdef enum:
    DOUBLE_TEXT_BYTES_MAX = 32     # room to give `double_text`; the longest text has 24
    INTEGER_TEXT_BYTES_MAX = 20    # of -2^63 and of 2^64 - 1
    POWER_FIRST = -292             # powers of ten that doubles need
    POWER_LAST = 324
    FRACTION_BITS = 52
    POINT_MIN = -3                 # digits before the decimal point for which no exponent is written
    POINT_MAX = 16

cdef struct PowerOfTen:
    uint64_t high
    uint64_t low

cdef PowerOfTen[POWER_LAST - POWER_FIRST + 1] POWERS_OF_TEN
cdef unsigned char[200] DIGIT_PAIRS

cdef int fill_number_tables() except -1:
    """10^k in 128 bits, the first of them set, rounded up; "00" to "99"."""
    for k in range(POWER_FIRST, POWER_LAST + 1):
        power = 10 ** abs(k)
        bits = power.bit_length()
        if k < 0:
            power = (2 ** (127 + bits) + power - 1) // power
        elif bits <= 128:
            power <<= 128 - bits
        else:
            power = -(-power >> bits - 128)
        POWERS_OF_TEN[k - POWER_FIRST].high = power >> 64
        POWERS_OF_TEN[k - POWER_FIRST].low = power & 0xFFFFFFFFFFFFFFFF
    for k in range(100):
        DIGIT_PAIRS[2 * k] = ord("0") + k // 10
        DIGIT_PAIRS[2 * k + 1] = ord("0") + k % 10
    return 0

fill_number_tables()


cdef inline int digits_of(uint64_t value) noexcept nogil:
    """Decimal digits of a number."""
    cdef int digits = 1
    while value >= 10000:
        value //= 10000
        digits += 4
    return digits + (value >= 10) + (value >= 100) + (value >= 1000)


cdef inline int unsigned_text(uint64_t value, unsigned char* out) noexcept nogil:
    """Decimal text; -> its bytes, at most `INTEGER_TEXT_BYTES_MAX`."""
    cdef int size = digits_of(value), at = size
    cdef uint32_t rest, pair
    while value > <uint64_t>0xFFFFFFFF:  # eight digits at once: 64-bit division is slow
        rest = <uint32_t>(value % 100000000)
        value //= 100000000
        for _ in range(4):
            pair = rest % 100
            rest //= 100
            at -= 2
            memcpy(out + at, &DIGIT_PAIRS[2 * pair], 2)
    rest = <uint32_t>value
    while rest >= 100:
        pair = rest % 100
        rest //= 100
        at -= 2
        memcpy(out + at, &DIGIT_PAIRS[2 * pair], 2)
    if rest >= 10:
        memcpy(out, &DIGIT_PAIRS[2 * rest], 2)
    else:
        out[0] = c"0" + <unsigned char>rest
    return size


cdef inline int signed_text(int64_t value, unsigned char* out) noexcept nogil:
    """Decimal text; -> its bytes, at most `INTEGER_TEXT_BYTES_MAX`."""
    if value >= 0:
        return unsigned_text(<uint64_t>value, out)
    out[0] = c"-"
    return 1 + unsigned_text(0 - <uint64_t>value, out + 1)


cdef inline uint64_t product_to_odd(PowerOfTen* power, uint64_t factor) noexcept nogil:
    """The product without its last 128 bits, its last bit set if it was not whole: it is still on its side of any whole number."""
    cdef double_product low = <double_product>power.low * factor
    cdef double_product high = <double_product>power.high * factor + <uint64_t>(low >> 64)
    return <uint64_t>(high >> 64) | (<uint64_t>high > 1)


cdef inline uint64_t shortest_digits(uint64_t fraction, int biased, int* exponent) noexcept nogil:
    """Digits d and `exponent` e of a finite double above 0: d 10^e. d may end in zeros."""
    cdef uint64_t c = fraction, s, tenth, lower, upper, middle, odd
    cdef int q = 1 - 1075, k, shift
    cdef bint uneven = fraction == 0 and biased > 1, below, above  # uneven: the next double below is half as far as the one above
    cdef PowerOfTen* power
    if biased:
        c |= <uint64_t>1 << FRACTION_BITS
        q = biased - 1075
    odd = c & 1  # the ends of the interval are read back as the double only if it is even
    k = (q * 1262611 - (524031 if uneven else 0)) >> 22  # floor of log10 of the interval's length
    power = &POWERS_OF_TEN[-k - POWER_FIRST]
    shift = q + ((-k * 1741647) >> 19) + 1  # floor of log2 of the power
    middle = product_to_odd(power, 4 * c << shift)
    lower = product_to_odd(power, (4 * c - 2 + uneven) << shift) + odd
    upper = product_to_odd(power, (4 * c + 2) << shift) - odd
    s = middle >> 2
    if s >= 10:
        tenth = s // 10
        below = lower <= 40 * tenth
        above = 40 * tenth + 40 <= upper
        if below != above:
            exponent[0] = k + 1
            return tenth + <uint64_t>above
    exponent[0] = k
    below = lower <= 4 * s
    above = 4 * s + 4 <= upper
    if below != above:
        return s + <uint64_t>above
    if middle == 4 * s + 2:  # both are inside and equally close: the even one
        return s + (s & 1)
    return s + <uint64_t>(middle > 4 * s + 2)


cdef inline int exponent_text(int exponent, unsigned char* out) noexcept nogil:
    """`e`, the sign, and at least two digits; -> their bytes."""
    out[0] = c"e"
    out[1] = c"-" if exponent < 0 else c"+"
    if exponent < 0:
        exponent = -exponent
    if exponent >= 100:
        out[2] = c"0" + <unsigned char>(exponent // 100)
        memcpy(out + 3, &DIGIT_PAIRS[2 * (exponent % 100)], 2)
        return 5
    memcpy(out + 2, &DIGIT_PAIRS[2 * exponent], 2)
    return 4


cdef inline int point_text(const unsigned char* digits, int size, int point, unsigned char* out) noexcept nogil:
    """Digits with a decimal point after the first `point` of them; -> bytes. Zeros are put where there are none."""
    if point <= 0:
        memset(out, c"0", 2 - point)
        out[1] = c"."
        memcpy(out + 2 - point, digits, size)
        return 2 - point + size
    if point >= size:
        memcpy(out, digits, size)
        memset(out + size, c"0", point - size)
        out[point] = c"."
        out[point + 1] = c"0"
        return point + 2
    memcpy(out, digits, point)
    out[point] = c"."
    memcpy(out + point + 1, digits + point, size - point)
    return size + 1


cdef inline Py_ssize_t double_text(double value, unsigned char* out) noexcept nogil:
    """Text of a double; -> its bytes. `out` has room for `DOUBLE_TEXT_BYTES_MAX`.

    Python's repr where it is finite, else NaN, Infinity or -Infinity. At least one digit stands on either side of a decimal point;
    from 1e+16 on and below 0.0001 an exponent of at least two digits is written.
    """
    cdef uint64_t bits, fraction
    cdef int biased, size, point, exponent = 0
    cdef unsigned char[INTEGER_TEXT_BYTES_MAX] digits
    cdef unsigned char* at = out
    memcpy(&bits, &value, 8)
    fraction = bits & ((<uint64_t>1 << FRACTION_BITS) - 1)
    biased = <int>(bits >> FRACTION_BITS & 0x7FF)
    if biased == 0x7FF and fraction:
        memcpy(out, b"NaN", 3)
        return 3
    if bits >> 63:
        at[0] = c"-"
        at += 1
        value = -value
    if biased == 0x7FF:
        memcpy(at, b"Infinity", 8)
        return at + 8 - out
    if value < 9007199254740992.0 and value == <double><int64_t>value:  # 2^53: all digits of a whole number below are needed
        at += unsigned_text(<uint64_t>value, at)
        at[0] = c"."
        at[1] = c"0"
        return at + 2 - out
    size = unsigned_text(shortest_digits(fraction, biased, &exponent), digits)
    point = size + exponent
    while digits[size - 1] == c"0":
        size -= 1
    if POINT_MIN <= point <= POINT_MAX:
        return at + point_text(digits, size, point, at) - out
    at[0] = digits[0]
    at += 1
    if size > 1:
        at[0] = c"."
        memcpy(at + 1, digits + 1, size - 1)
        at += size
    return at + exponent_text(point - 1, at) - out
