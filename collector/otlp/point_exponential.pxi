# Exponential histograms as explicit ones, on one grid of bounds for all scales, so that points can be compared.
#
# A scale above `SCALE_FINEST` is first brought down to it, and further while there are too many bounds: a bucket i of a scale is
# part of bucket i >> 1 of the next lower one (OpenTelemetry specification, "Metrics Data Model", ExponentialHistogram). Empty
# buckets are left out, but every bucket with a count has its lower bound before it. What is below or above all doubles counts as
# zero or as infinite. Negative buckets have negative bounds, zeros those of the threshold.

cdef extern from *:
    # The sum of 2 * `buckets_max` 64-bit counts; its conversion to a double rounds once.
    ctypedef unsigned long long wide_count "unsigned __int128"

cdef enum:
    SCALE_FINEST = 3           # bounds are at most 2^(1/8), 9 %, apart
    EXPONENT_MAX = 1100        # beyond any double either way
    EXPONENT_STEP = 1000       # 2^-1000 is a double that no rounding touches

cdef double[8] EIGHTHS = [  # 2^(k/8), correctly rounded: written down, for powers differ between machines
    1.0,
    1.0905077326652577,
    1.189207115002721,
    1.2968395546510096,
    1.4142135623730951,
    1.5422108254079407,
    1.681792830507429,
    1.8340080864093424,
]
cdef double ENDLESS = float("inf")
cdef double LEAST = 5e-324
cdef double MOST = 1.7976931348623157e308

cdef struct Bucket:
    int64_t index
    wide_count count

cdef struct Side:
    # Buckets with a count, their indices ascend.
    Bucket* buckets
    Py_ssize_t count

cdef struct Explicit:
    # Upper bounds, ascending, and observations in each; at most `room` of them, more are said by `full`.
    double* at
    wide_count* counts
    Py_ssize_t count
    Py_ssize_t room
    bint full


cdef inline double power_of_two(int exponent) noexcept nogil:
    """2^exponent, -1022..1023."""
    cdef uint64_t bits = <uint64_t>(exponent + 1023) << 52
    cdef double power
    memcpy(&power, &bits, 8)
    return power


cdef double bucket_bound(int64_t index, int scale) noexcept nogil:
    """2^(index / 2^scale): where a bucket begins; inf or 0.0 beyond what a double holds. `scale` is at most `SCALE_FINEST`."""
    cdef int64_t eighths
    cdef int64_t exponent
    cdef int eighth = 0, shift
    if scale > 0:
        eighths = index * (8 >> scale)
        exponent = eighths >> 3  # towards minus infinity
        eighth = <int>(eighths & 7)
    else:
        shift = -scale
        if index == 0:
            return 1.0
        if shift >= 11 or index > EXPONENT_MAX >> shift or -index > EXPONENT_MAX >> shift:
            return ENDLESS if index > 0 else 0.0
        exponent = index * (<int64_t>1 << shift)
    if exponent > 1023:
        return ENDLESS
    if exponent >= -1022:
        return EIGHTHS[eighth] * power_of_two(<int>exponent)
    if exponent < -EXPONENT_MAX:
        return 0.0
    return EIGHTHS[eighth] * power_of_two(-EXPONENT_STEP) * power_of_two(<int>exponent + EXPONENT_STEP)  # rounds in its last step


cdef void bring_down(Side* side, const uint64_t* counts, Py_ssize_t count, int64_t offset, int shift) noexcept nogil:
    """Counts by index, from `offset` on, as buckets of a scale that is lower by `shift`."""
    cdef Py_ssize_t i
    cdef int64_t index
    cdef Bucket* last = NULL
    side.count = 0
    for i in range(count):
        if counts[i] == 0:
            continue
        index = (offset + i) >> shift
        if last != NULL and last.index == index:
            last.count += counts[i]
            continue
        last = &side.buckets[side.count]
        last.index = index
        last.count = counts[i]
        side.count += 1


cdef void coarsen(Side* side) noexcept nogil:
    """Half as many bounds: one scale down."""
    cdef Py_ssize_t i, kept = 0
    cdef int64_t index
    for i in range(side.count):
        index = side.buckets[i].index >> 1
        if kept and side.buckets[kept - 1].index == index:
            side.buckets[kept - 1].count += side.buckets[i].count
        else:
            side.buckets[kept].index = index
            side.buckets[kept].count = side.buckets[i].count
            kept += 1
    side.count = kept


cdef inline void push_bound(Explicit* out, double bound, wide_count count) noexcept nogil:
    if out.count == out.room:
        out.full = True
        return
    out.at[out.count] = bound
    out.counts[out.count] = count
    out.count += 1


cdef inline void put_bucket(Explicit* out, double low, double high, wide_count count) noexcept nogil:
    if out.count and high <= out.at[out.count - 1]:  # within the one before: around zero, or beyond what a double can tell apart
        out.counts[out.count - 1] += count
        return
    if -ENDLESS < low < high and (out.count == 0 or low > out.at[out.count - 1]):
        push_bound(out, low, 0)
    push_bound(out, high, count)


cdef void put_all(Explicit* out, Side* positive, Side* negative, int scale, uint64_t zero_count, double threshold) noexcept nogil:
    """Both sides at one scale, and zeros."""
    cdef Py_ssize_t i
    cdef double low, high = ENDLESS
    out.count = 0
    out.full = False
    for i in range(negative.count - 1, -1, -1):
        high = -bucket_bound(negative.buckets[i].index, scale)
        if high == 0.0:
            high = -LEAST
        elif high < -MOST:
            high = -MOST
        put_bucket(out, -bucket_bound(negative.buckets[i].index + 1, scale), high, negative.buckets[i].count)
        if out.full:
            return
    if out.count or zero_count:
        low = -ENDLESS
        if out.count:
            low = -threshold if threshold != 0.0 else -LEAST
        put_bucket(out, low, threshold, zero_count)
    for i in range(positive.count):
        if i and positive.buckets[i - 1].index + 1 == positive.buckets[i].index:
            low = high
        else:
            low = bucket_bound(positive.buckets[i].index, scale)
        high = bucket_bound(positive.buckets[i].index + 1, scale)
        put_bucket(out, low, high, positive.buckets[i].count)
        if out.full:
            return
    if out.count == 0 or out.at[out.count - 1] < ENDLESS:
        push_bound(out, ENDLESS, 0)


cdef void explicit_bounds(
    Explicit* out, Side* positive, Side* negative, int scale, uint64_t zero_count, double threshold
) noexcept nogil:
    """Upper bounds, +inf last, and counts, at the finest scale, `scale` at most, at which there is room for them."""
    while True:
        put_all(out, positive, negative, scale, zero_count, threshold)
        if not out.full:
            return
        coarsen(positive)
        coarsen(negative)
        scale -= 1
