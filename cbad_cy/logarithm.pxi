"""Bits of a share, for kernels whose results depend on it: the same on every machine."""

cdef double bits_of(double p) noexcept nogil:
    """-log2 p for p in (0, 1], by exact scaling and a fixed series.

    p = m 2^e with m in [3/4, 3/2); ln m = 2 artanh z, z = (m - 1)/(m + 1), |z| <= 1/5, so 11 terms reach double precision.
    """
    cdef int e, k
    cdef double m = frexp(p, &e), z, q, total = 0.0
    if m < 0.75:
        m *= 2.0
        e -= 1
    z = (m - 1.0) / (m + 1.0)
    q = z * z
    for k in range(21, 0, -2):
        total = total * q + 1.0 / k
    total = -e - 2.885390081777926814719849362 * z * total  # 2 / ln 2
    return total if total > 0.0 else 0.0
