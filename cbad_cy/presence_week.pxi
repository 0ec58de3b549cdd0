"""Of the kernel in presence.pyx: how many events are to be expected at which hour of the week."""

cdef enum:
    SLOTS = 168                  # hours of a week; the first is a Thursday's in 1970
    SLOT_WEEKS = 4               # from so many on a slot forgets


cdef double LEVEL_KEPT = 0.5     # an hour: how fast the present level forgets


cdef struct Week:
    double mean                  # events an hour, moving
    double heard                 # events of the newest hours, moving, and what was expected of them
    double expected
    uint64_t hour_end_ns         # of the hour that is open; 0: none is
    double count                 # events in it
    uint32_t hours               # closed whole ones
    uint32_t whole               # is the open hour whole? A stream's first one is not
    float rate[SLOTS]            # events an hour
    uint8_t seen[SLOTS]          # weeks, up to SLOT_WEEKS


cdef double week_rate(Week* w, int slot, double mean) noexcept nogil:
    """Events an hour: by the slot itself, else by the same hour of other days, else by the mean."""
    cdef double total = 0.0
    cdef int day, days = 0, other
    if w.seen[slot]:
        return w.rate[slot]
    for day in range(7):
        other = day * 24 + slot % 24
        if w.seen[other]:
            total += w.rate[other]
            days += 1
    return total / days if days else mean


cdef void week_close(Week* w, double mean) noexcept nogil:
    """The open hour ends."""
    cdef int slot = <int>((w.hour_end_ns // HOUR_NS - 1) % SLOTS)
    cdef double share
    if w.whole:
        if w.hours:
            w.heard = LEVEL_KEPT * w.heard + w.count
            w.expected = LEVEL_KEPT * w.expected + week_rate(w, slot, mean)
        w.hours += w.hours < 1000000000
        share = 1.0 / (w.hours if w.hours < SLOTS else SLOTS)
        w.mean += share * (w.count - w.mean)
        if w.seen[slot] < SLOT_WEEKS:
            w.seen[slot] += 1
        w.rate[slot] = <float>(w.rate[slot] + (w.count - w.rate[slot]) / w.seen[slot])
    w.whole = 1
    w.count = 0.0
    w.hour_end_ns += HOUR_NS


cdef void week_reach(Week* w, uint64_t time_ns, double mean) noexcept nogil:
    """Close the hours that end by this time: those of a week at most, what comes between is nobody's."""
    cdef int closed = 0
    if w.hour_end_ns == 0:
        w.hour_end_ns = time_ns - time_ns % HOUR_NS + HOUR_NS
        w.whole = time_ns % HOUR_NS == 0
    while w.hour_end_ns <= time_ns and closed <= SLOTS:
        week_close(w, mean)
        closed += 1
    if w.hour_end_ns <= time_ns:
        w.hour_end_ns = time_ns - time_ns % HOUR_NS + HOUR_NS
        w.whole = 0


cdef double week_level(Week* w) noexcept nogil:
    """How loud the stream is now against what is usual; never more than 1, so that a stream which dwindles is not missed."""
    return w.heard / w.expected if w.expected > w.heard else 1.0


cdef double week_expected(Week* w, uint64_t since_ns, uint64_t until_ns, double mean) noexcept nogil:
    """Events to be expected from one time to another; of what is longer than two weeks the first two."""
    cdef uint64_t at = since_ns, stop
    cdef double total = 0.0
    if until_ns <= since_ns:
        return 0.0
    if until_ns - since_ns > 2 * SLOTS * HOUR_NS:
        until_ns = since_ns + 2 * SLOTS * HOUR_NS
    while at < until_ns:
        stop = at - at % HOUR_NS + HOUR_NS
        if stop > until_ns:
            stop = until_ns
        total += week_rate(w, <int>(at // HOUR_NS % SLOTS), mean) * (<double>(stop - at) / <double>HOUR_NS)
        at = stop
    return total * week_level(w)


cdef uint64_t week_when(Week* w, uint64_t since_ns, double events, double mean) noexcept nogil:
    """The time by which so many events are to be expected; 0: not within two weeks."""
    cdef uint64_t at = since_ns, stop, end = since_ns + 2 * SLOTS * HOUR_NS
    cdef double level = week_level(w), rate, part
    while at < end:
        stop = at - at % HOUR_NS + HOUR_NS
        rate = level * week_rate(w, <int>(at // HOUR_NS % SLOTS), mean)
        part = rate * (<double>(stop - at) / <double>HOUR_NS)
        if part >= events and rate > 0.0:
            return at + <uint64_t>(<double>HOUR_NS * (events / rate)) + 1
        events -= part
        at = stop
    return 0
