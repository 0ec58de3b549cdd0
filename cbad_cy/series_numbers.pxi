"""Of the kernel in series.pyx: logarithms and powers, the same on every machine."""

cdef extern from *:
    """
    static inline double from_bits(uint64_t b) { double x; memcpy(&x, &b, 8); return x; }
    static inline uint64_t to_bits(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }
    static inline float from_short_bits(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
    static inline uint32_t to_short_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
    """
    double from_bits(uint64_t b) noexcept nogil
    uint64_t to_bits(double x) noexcept nogil
    float from_short_bits(uint32_t b) noexcept nogil
    uint32_t to_short_bits(float x) noexcept nogil

cdef enum:
    MANTISSA = 52

cdef extern from *:
    """
    static const double LOG10_2 = 0.301029995663981195213739, LOG2_10 = 3.321928094887362347870319;
    static const double LN_2 = 0.693147180559945309417, LN_10 = 2.302585092994045684018;
    """
    const double LOG10_2, LOG2_10, LN_2, LN_10


cdef inline double log2_of(double x) noexcept nogil:
    """Base 2 logarithm of a finite normal x > 0 within 3e-10, by exact scaling and a fixed series.

    x = m 2^e with m in [3/4, 3/2); ln m = 2 artanh z, z = (m - 1)/(m + 1), |z| <= 1/5; the first term left out is z^13 / 13.
    """
    cdef uint64_t b = to_bits(x)
    cdef int64_t e = <int64_t>(b >> MANTISSA) - 1023
    cdef uint64_t upper = (b >> (MANTISSA - 1)) & 1  # m >= 3/2: halve it
    cdef double m, z, q
    m = from_bits((b & ((<uint64_t>1 << MANTISSA) - 1)) | (<uint64_t>(1023 - upper) << MANTISSA))
    z = (m - 1.0) / (m + 1.0)
    q = z * z
    q = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11)))))
    return <double>(e + <int64_t>upper) + 2.885390081777926814719849362 * z * q  # 2 / ln 2


cdef inline double log10_of(double x) noexcept nogil:
    return LOG10_2 * log2_of(x)


cdef double power_of_two(double x) noexcept nogil:
    """2 to the power x for |x| <= 1000, within 1e-12 of it, by exact scaling and a fixed series."""
    cdef int64_t whole = <int64_t>(x + 1000.5) - 1000
    cdef double y = (x - <double>whole) * LN_2, total = 1.0
    cdef int k
    for k in range(13, 0, -1):
        total = 1.0 + y * total * (1.0 / k)
    return total * from_bits(<uint64_t>(whole + 1023) << MANTISSA)


cdef inline double largest(double a, double b) noexcept nogil:
    return a if a > b else b


cdef inline double smallest(double a, double b) noexcept nogil:
    return a if a < b else b


cdef inline double distance(double a, double b) noexcept nogil:
    return a - b if a > b else b - a


cdef inline double bounded(double x, double most) noexcept nogil:
    return most if x > most else -most if x < -most else x


cdef inline uint16_t short_of(double x) noexcept nogil:
    """0 <= x <= 1e38 in 16 bits: 8 of exponent, 8 of fraction, so within 1/512 of it; halves away from zero."""
    return <uint16_t>((to_short_bits(<float>x) + 0x4000) >> 15)


cdef inline double long_of(uint16_t x) noexcept nogil:
    return from_short_bits(<uint32_t>x << 15)


cdef inline int16_t signed_short_of(double x) noexcept nogil:
    """The same with a sign and 7 bits of fraction."""
    return <int16_t>(<uint16_t>((to_short_bits(<float>x) + 0x8000) >> 16))


cdef inline double signed_long_of(int16_t x) noexcept nogil:
    return from_short_bits(<uint32_t><uint16_t>x << 16)


cdef void turn(double part, double* sine, double* cosine) noexcept nogil:
    """Sine and cosine of a part 0..1 of a turn, within 1e-13, by their series on an eighth of a turn."""
    cdef int quarter = <int>(4.0 * part + 0.5)
    cdef double y = (4.0 * part - quarter) * 1.570796326794896619231, q = y * y, s, c
    s = y * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0 * (1.0 - q / 110.0 * (1.0 - q / 156.0))))))
    c = 1.0 - q / 2.0 * (1.0 - q / 12.0 * (1.0 - q / 30.0 * (1.0 - q / 56.0 * (1.0 - q / 90.0 * (1.0 - q / 132.0)))))
    quarter &= 3
    sine[0] = s if quarter == 0 else c if quarter == 1 else -s if quarter == 2 else -c
    cosine[0] = c if quarter == 0 else -s if quarter == 1 else -c if quarter == 2 else s
