"""Of the kernel in mix.pyx: logarithms, deviances, order statistics, levels of episodes."""

cdef double log2_of(double x) noexcept nogil:
    """Base 2 logarithm of x > 0 within 1e-9 of it, by exact scaling and a fixed series.

    x = m 2^e with m in [3/4, 3/2); ln m = 2 artanh z, z = (m - 1)/(m + 1), |z| <= 1/5.
    """
    cdef int e
    cdef double m = frexp(x, &e), z, q
    if m < 0.75:
        m *= 2.0
        e -= 1
    z = (m - 1.0) / (m + 1.0)
    q = z * z
    q = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11)))))
    return e + 2.885390081777926814719849362 * z * q  # 2 / ln 2


cdef inline double ln_of(double x) noexcept nogil:
    return 0.693147180559945309417232 * log2_of(x)


cdef double deviance(double observed, double expected, double evidence) noexcept nogil:
    """Nats by which a count is better explained by its own rate than by the expected one.

    Of a negative binomial count with mean `expected` and variance expected + expected^2 / evidence: what a Poisson count has
    whose rate is known from `evidence` events.
    """
    cdef double found = -(observed + evidence) * ln_of((observed + evidence) / (expected + evidence))
    if observed > 0.0:
        found += observed * ln_of(observed / expected)
    return found if found > 0.0 else 0.0


cdef inline double deviance_at_most(double observed, double expected, double evidence) noexcept nogil:
    """A bound that costs no logarithm. Above the mean the variance only grows; below it, Poisson with nothing to show for."""
    cdef double apart = observed - expected
    if apart <= 0.0:
        return -apart
    return apart * apart / (2.0 * expected * (1.0 + expected / evidence))


cdef void ascending(float* numbers, int count) noexcept nogil:
    """Sort a few numbers."""
    cdef int i, k
    cdef float number
    for i in range(1, count):
        number = numbers[i]
        k = i
        while k > 0 and numbers[k - 1] > number:
            numbers[k] = numbers[k - 1]
            k -= 1
        numbers[k] = number


cdef inline int8_t eighth(double value) noexcept nogil:
    """In steps of 1/8, as far as they reach."""
    value *= 8.0
    if value > 127.0:
        return 127
    if value < -127.0:
        return -127
    return <int8_t>(value + 0.5) if value >= 0.0 else <int8_t>(value - 0.5)


cdef double power_of_two(double x) noexcept nogil:
    """2 to the power x for |x| <= 64 within 1e-9 of it, by exact scaling and a fixed series."""
    cdef int whole = <int>(x + 64.5) - 64, k
    cdef double y = (x - whole) * 0.693147180559945309417232, total = 1.0
    for k in range(11, 0, -1):
        total = 1.0 + y * total * (1.0 / k)
    return ldexp(total, whole)


# ---- episodes ------------------------------------------------------------------------------------------------------


cdef inline double usual_level(const uint8_t* level) noexcept nogil:
    """What surprises are divided by: the level of three episodes over the 4 nats that chance reaches; 1 at least."""
    cdef uint8_t third = level[0]
    if level[1] < third:
        third = level[1]
    if level[2] < third:
        third = level[2]
    return third / 8.0 if third > 8 else 1.0


cdef void close_episode(uint8_t* level) noexcept nogil:
    """Count the level that was reached since the last time, unless the episode goes on that was counted then.

    Neighbouring stretches are one episode, counted with the higher level; a third in a row begins another.
    """
    cdef uint8_t reached = level[OPEN], counted = level[COUNTED]
    cdef int i, least = 0
    level[OPEN] = level[COUNTED] = 0
    if reached == 0:
        return
    if counted:
        if reached > counted:
            for i in range(EPISODES):
                if level[i] == counted:
                    level[i] = level[COUNTED] = reached
                    return
        return
    for i in range(1, EPISODES):
        if level[i] < level[least]:
            least = i
    if reached > level[least]:
        level[least] = level[COUNTED] = reached
