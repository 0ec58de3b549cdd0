"""Of the kernel in presence.pyx: how long silences usually are, and how improbable a longer one is."""

cdef enum:
    BINS = 72                    # half octaves: from 1 to 2^36 units
    LOCAL = 30                   # silences beyond the place where the weight of the tail is measured

# How fast shares fall off beyond what was seen, as a mean excess in octaves (1 / (ln 2 times the Pareto index)). Silences of a
# clockwork would let one extrapolate as far as one likes: no more than index 4 is believed, and never less than index 1.
cdef double EXCESS_MIN = 0.36
cdef double EXCESS_MAX = 1.44
cdef double EXCESS_UNKNOWN = 0.72    # while there are too few silences to measure it
cdef double EXCESS_SAFETY = 1.5      # heavier than it looks
cdef double EXCESS_WEIGHT = 8.0      # silences that this guess is worth at other places of the tail
cdef double LN2 = 0.6931471805599453094172321214581766


cdef struct Tail:
    uint64_t longest[2]          # exact, in this period and in the one before
    uint16_t count[BINS]         # silences by length; all are halved when one is full


cdef int bin_of(uint64_t length) noexcept nogil:
    """Half octave of a length; 0 counts as 1. Integers only."""
    cdef int octave = 0
    cdef uint64_t x = length
    if x == 0:
        return 0
    while x >> 32:
        x >>= 16
        octave += 16
    while x >> 8:
        x >>= 8
        octave += 8
    while x >> 1:
        x >>= 1
        octave += 1
    x = length << (63 - octave)
    octave = 2 * octave + (x >= <uint64_t>0xB504F333F9DE6485)  # sqrt 2
    return octave if octave < BINS else BINS - 1


cdef void tail_add(Tail* t, uint64_t length) noexcept nogil:
    cdef int b = bin_of(length), i
    if length > t.longest[0]:
        t.longest[0] = length
    if t.count[b] == 0xFFFF:
        for i in range(BINS):
            t.count[i] = <uint16_t>((t.count[i] + 1) >> 1)  # what was seen once is not forgotten
    t.count[b] += 1


cdef void tail_rotate(Tail* t, bint both) noexcept nogil:
    """A period has passed; `both`: more than one."""
    t.longest[1] = 0 if both else t.longest[0]
    t.longest[0] = 0


cdef uint64_t tail_longest(Tail* t) noexcept nogil:
    return t.longest[0] if t.longest[0] > t.longest[1] else t.longest[1]


cdef double tail_total(Tail* t) noexcept nogil:
    cdef double total = 0.0
    cdef int b
    for b in range(BINS):
        total += t.count[b]
    return total


cdef double tail_excess(Tail* t) noexcept nogil:
    """Weight of the far tail in octaves, measured over the LOCAL longest silences."""
    cdef double above = 0.0, places = 0.0, excess
    cdef int b = BINS
    while b > 0:
        b -= 1
        above += t.count[b]
        places += t.count[b] * (0.5 * b + 0.25)
        if above >= LOCAL:
            excess = EXCESS_SAFETY * (places / above - 0.5 * b)
            return EXCESS_MIN if excess < EXCESS_MIN else EXCESS_MAX if excess > EXCESS_MAX else excess
    return EXCESS_UNKNOWN


cdef double tail_walk(Tail* t, double at, double bits) noexcept nogil:
    """At bits < 0: -log2 of the share of silences longer than 2^`at`. Else: log2 of the length whose share is 2^-`bits`.

    Beyond each edge of a bin the share falls like a power, whose index follows from the silences beyond that edge and from
    the weight of the tail as a whole; of all edges that at most LOCAL silences exceed the most cautious one counts.
    """
    cdef double total = tail_total(t), guess = tail_excess(t), above = 0.0, places = 0.0
    cdef double edge, excess, share, best = 1e9 if bits < 0 else 0.0, answer
    cdef int b = BINS - 1
    while b > 0 and t.count[b] == 0:
        b -= 1
    while b >= 0 and above < LOCAL:  # from further below nothing can be said about the far tail
        edge = 0.5 * (b + 1)
        share = bits_of((above + 1.0) / (total + 2.0))
        excess = LN2 * (EXCESS_WEIGHT * guess + places - above * edge) / (EXCESS_WEIGHT + above)
        if bits < 0:
            answer = share if at <= edge else share + (at - edge) / excess
            if answer < best:
                best = answer
        elif bits > share:
            answer = edge + excess * (bits - share)
            if answer > best:
                best = answer
        above += t.count[b]
        places += t.count[b] * (0.5 * b + 0.25)
        b -= 1
    return best


cdef double log2_of_length(uint64_t length) noexcept nogil:
    """log2, 0 for lengths up to 1."""
    return bits_of(1.0 / length) if length > 1 else 0.0


cdef double tail_bits(Tail* t, uint64_t length) noexcept nogil:
    """-log2 of the share of silences that last as long."""
    return tail_walk(t, log2_of_length(length), -1.0)


cdef double tail_reach(Tail* t, double bits) noexcept nogil:
    """The length, in units, whose share is 2^-`bits`."""
    return two_to(tail_walk(t, 0.0, bits))


cdef uint64_t tail_median(Tail* t) noexcept nogil:
    """Half of the silences are shorter: the middle of the half octave in which that is so."""
    cdef double total = tail_total(t), below = 0.0
    cdef int b
    for b in range(BINS):
        below += t.count[b]
        if below + below >= total:
            break
    return <uint64_t>two_to(0.5 * b + 0.25)


cdef double two_to(double x) noexcept nogil:
    """2^x for 0 <= x < 1000, to double precision: exact scaling and a fixed series."""
    cdef int whole = <int>x, k
    cdef double z = (x - whole) * LN2, total = 1.0
    for k in range(20, 0, -1):
        total = total * z / k + 1.0
    return ldexp(total, whole)
