"""Vectors of buckets: brought to few, compared at the bounds that two of them share, and what they say."""

cdef bint sound(const double* at, const double* n, size_t size, double most) noexcept nogil:
    """Bounds ascend, only the last may be infinite; counts are from 0 to `most`."""
    cdef size_t k
    if not at[0] >= -DBL_MAX:
        return False
    for k in range(size):
        if not 0.0 <= n[k] <= most or at[k] != at[k] or (k and not at[k - 1] < at[k]):
            return False
    return True


cdef double total_of(const double* n, size_t size) noexcept nogil:
    cdef double total = 0.0
    cdef size_t k
    for k in range(size):
        total += n[k]
    return total


cdef int reduced(const double* at, const double* n, size_t size, double* to_at, double* to_n) noexcept nogil:
    """At most KEPT buckets: of neighbours, paired from the lowest on until they fit. The last bound stays. -> how many."""
    cdef size_t width = 1, k, j = 0
    while (size + width - 1) // width > KEPT:
        width *= 2
    for k in range(size):
        if k % width == 0:
            to_n[j] = 0.0
        to_n[j] += n[k]
        if k % width == width - 1 or k == size - 1:
            to_at[j] = at[k]
            j += 1
    return <int>j


cdef int joined(
    const double* at_a, const double* a, int size_a, const double* at_b, const double* b, int size_b,
    double* at, double* to_a, double* to_b,
) noexcept nogil:
    """Both vectors on the bounds below which both are known: their own, and those within or beside what is empty. -> how many."""
    cdef int i = 0, j = 0, k = 0
    cdef double sum_a = 0.0, sum_b = 0.0, x
    cdef bint from_a, from_b
    while i < size_a or j < size_b:
        from_a = i < size_a and (j >= size_b or at_a[i] <= at_b[j])
        from_b = j < size_b and (i >= size_a or at_b[j] <= at_a[i])
        x = at_a[i] if from_a else at_b[j]
        if from_a:
            sum_a += a[i]
            i += 1
        if from_b:
            sum_b += b[j]
            j += 1
        if (from_a or i >= size_a or a[i] == 0.0) and (from_b or j >= size_b or b[j] == 0.0):
            at[k], to_a[k], to_b[k] = x, sum_a, sum_b
            sum_a = sum_b = 0.0
            k += 1
    return k


cdef int thinned(double* at, double* n, int size) noexcept nogil:
    """Merge the neighbours that hold least together until at most KEPT are left. -> how many."""
    cdef int k, best
    while size > KEPT:
        best = 0
        for k in range(1, size - 1):
            if n[k] + n[k + 1] < n[best] + n[best + 1]:
                best = k
        n[best + 1] += n[best]
        size -= 1
        memmove(&at[best], &at[best + 1], (size - best) * sizeof(double))
        memmove(&n[best], &n[best + 1], (size - best) * sizeof(double))
    return size


cdef double quantile(const double* at, const double* n, int size, double total, double q) noexcept nogil:
    """The value below which the share q lies, linear within its bucket; NaN where no finite bound is near.

    The first bucket begins at 0, or is its bound where that is not above 0; the unbounded last one is the bound before it.
    """
    cdef double target = q * total, below = 0.0, share, low, value
    cdef int k, last = size - 1
    while last > 0 and n[last] == 0.0:
        last -= 1
    for k in range(size):
        if n[k] > 0.0 and (below + n[k] >= target or k == last):
            if at[k] > DBL_MAX:
                return at[k - 1] if k else NAN
            if k == 0 and at[0] <= 0.0:
                return at[0]
            low = at[k - 1] if k else 0.0
            share = (target - below) / n[k]
            value = low * (1.0 - share) + at[k] * share
            return low if value < low else at[k] if value > at[k] else value
        below += n[k]
    return NAN


cdef double shape_bits(const double* n, const double* past, int size) noexcept nogil:
    """n KL(interval || past) in bits, the past's shares estimated with half an observation more in each bucket."""
    cdef double total = total_of(n, size), all_past = total_of(past, size) + 0.5 * size, bits = 0.0
    cdef int k
    for k in range(size):
        if n[k] > 0.0:
            bits += n[k] * (bits_of((past[k] + 0.5) / all_past) - bits_of(n[k] / total))
    return bits if bits > 0.0 else 0.0


cdef double learn_shape(Buckets* b, const double* at, const double* n, int size) noexcept nogil:
    """Compare an interval with the past, then learn it. -> bits, NaN while too little is known."""
    cdef double all_at[3 * KEPT]
    cdef double now[3 * KEPT]
    cdef double past[3 * KEPT]
    cdef double known[KEPT]
    cdef double bits = NAN
    cdef int k, all_size
    known[0] = 0.0
    for k in range(b.past):
        known[k] = b.frequency[k]
    all_size = joined(at, n, size, b.past_at, known, b.past, all_at, now, past)
    if b.past and (all_size < 2 or 2 * all_size < size):  # other bounds: little of the past can be compared
        b.past = b.learned = 0
        all_size = joined(at, n, size, b.past_at, known, 0, all_at, now, past)
    if b.learned + 1 >= SHAPE_POINTS:
        bits = shape_bits(now, past, all_size)
    else:
        b.learned += 1
    for k in range(all_size):
        past[k] = DECAY * past[k] + now[k]
    b.past = thinned(all_at, past, all_size)
    memcpy(b.past_at, all_at, b.past * sizeof(double))
    for k in range(b.past):
        b.frequency[k] = <float>past[k]
    return bits
