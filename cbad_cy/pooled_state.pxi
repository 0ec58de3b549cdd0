"""Of the kernel in pooled.pyx: a series, an open minute of a resource, and what a point does to both."""

cdef enum:
    NO_MEMORY = 1
    NO_ID = 2
    NO_ROOM = 3

cdef struct Series:
    Head head
    double centre     # level in the long run
    double spread     # mean distance of its minutes from it
    double sum        # of the newest minute
    uint32_t count
    uint32_t learned  # minutes
    uint32_t minute
    int32_t said      # in the newest minute, 1/UNIT digit


cdef struct Strongest:
    uint64_t id
    double value
    double centre
    double spread
    int32_t said      # 0: nobody


cdef struct Resource:
    Head head
    int64_t total     # 1/UNIT digit
    uint32_t minute
    uint32_t points
    uint32_t series
    uint32_t odd
    uint32_t usual    # points in the minute before
    uint32_t given    # 1: as many came in this one, so it was over, and further ones are not gathered
    Strongest strongest[STRONGEST]


cdef struct Pool:
    Table series
    Table resources   # those with an open minute
    Resource* over    # minutes that are over, in any order
    size_t over_count
    size_t over_room
    size_t most       # series, and resources with an open minute
    uint64_t newest   # minute of the newest point


cdef int pool_begin(Pool* p, size_t most) noexcept nogil:
    """-> 0, or -1 when memory is short."""
    memset(p, 0, sizeof(Pool))
    p.most = most
    if table_begin(&p.series, sizeof(Series), 16) or table_begin(&p.resources, sizeof(Resource), 16):
        pool_end(p)
        return -1
    return 0


cdef void pool_end(Pool* p) noexcept nogil:
    table_end(&p.series)
    table_end(&p.resources)
    free(p.over)
    p.over = NULL


cdef int pool_over(Pool* p, const Resource* r) noexcept nogil:
    """Keep a minute that is over until it is asked for."""
    cdef Resource* wide
    if p.over_count == p.over_room:
        wide = <Resource*>realloc(p.over, (2 * p.over_room + 16) * sizeof(Resource))
        if wide == NULL:
            return -1
        p.over = wide
        p.over_room = 2 * p.over_room + 16
    p.over[p.over_count] = r[0]
    p.over_count += 1
    return 0


cdef int pool_pass(Pool* p, uint64_t minute) noexcept nogil:
    """The newest point is of a later minute: resources that are two minutes behind have none open any more."""
    cdef size_t i = 0
    cdef Resource* r
    p.newest = minute
    while i <= p.resources.mask:
        r = <Resource*>table_at(&p.resources, i)
        if r.head.used and r.minute + <uint64_t>2 <= minute:
            if not r.given and pool_over(p, r):
                return -1
            table_drop(&p.resources, r.head.id)  # another may have moved to this place
        else:
            i += 1
    return 0


cdef Resource* pool_resource(Pool* p, uint64_t id, uint64_t minute, int* failed) noexcept nogil:
    """The open minute of a resource, `minute` or later; NULL when too many are open."""
    cdef Resource* r = <Resource*>table_find(&p.resources, id)
    cdef uint32_t usual
    if r == NULL:
        if p.resources.count >= p.most:
            return NULL
        r = <Resource*>table_add(&p.resources, id)
        if r == NULL:
            failed[0] = NO_MEMORY
            return NULL
        r.minute = <uint32_t>minute
    elif r.minute < minute:
        if not r.given and pool_over(p, r):
            failed[0] = NO_MEMORY
            return NULL
        usual = r.points
        memset(<char*>r + sizeof(Head), 0, sizeof(Resource) - sizeof(Head))
        r.minute = <uint32_t>minute
        r.usual = usual
    return r


cdef inline double width(const Series* s) noexcept nogil:
    """Its spread, and never nothing: a thousandth of the level."""
    cdef double least = 1e-3 * (s.centre if s.centre > 0 else -s.centre)
    if least < 1e-12:
        least = 1e-12
    return s.spread if s.spread > least else least


cdef int32_t weighed(const Series* s, double value) noexcept nogil:
    """What the mean of a minute says by itself: 1/UNIT digits beyond half a digit, at most SAID_MOST."""
    cdef double z, digits
    if s.learned < LEARNED:
        return 0
    z = value - s.centre
    z = (z if z > 0 else -z) / width(s)
    if z <= SAYS_FROM:
        return 0
    digits = 4.0 * LOG10_2 * bits_of(1.0 / (1.0 + z / 3.0)) - 0.5 if z < 1e12 else 1e6
    if digits <= 0.0:
        return 0
    return SAID_MOST if digits * UNIT >= SAID_MOST else <int32_t>(digits * UNIT)


cdef void learn(Series* s) noexcept nogil:
    """The newest minute is over: what it was belongs to the past now."""
    cdef double value = s.sum / s.count, error = value - s.centre, off, most, follow
    if s.learned == 0:
        s.centre = value
        s.learned = 1
        return
    s.learned += 1 if s.learned < 1000000 else 0
    off = error if error > 0 else -error
    if s.learned > CALM:
        most = CLIP * width(s)
        if off > most:
            off = most
            error = most if error > 0 else -most
    follow = 1.0 / s.learned
    if follow < FOLLOW:
        follow = FOLLOW
    s.centre += follow * error
    s.spread += follow * (off - s.spread)


cdef void name(Resource* r, const Series* s, double value, int32_t said) noexcept nogil:
    """Keep a series among the strongest of its resource, or take it out."""
    cdef int k, at = -1
    for k in range(STRONGEST):
        if r.strongest[k].said and r.strongest[k].id == s.head.id:
            at = k
            break
        if at < 0 or r.strongest[k].said < r.strongest[at].said or (
            r.strongest[k].said == r.strongest[at].said and r.strongest[k].id > r.strongest[at].id
        ):
            at = k
    if r.strongest[at].id == s.head.id or said > r.strongest[at].said:
        r.strongest[at].id = s.head.id
        r.strongest[at].said = said if said >= ODD else 0
        r.strongest[at].value = value
        r.strongest[at].centre = s.centre
        r.strongest[at].spread = width(s)


cdef int pool_point(Pool* p, Series* s, uint64_t resource, uint64_t time_ns, double value) noexcept nogil:
    cdef uint64_t minute = time_ns // <uint64_t>60000000000
    cdef int32_t said
    cdef int failed = 0
    cdef Resource* r
    if minute > p.newest and pool_pass(p, minute):
        return NO_MEMORY
    if minute + 1 < p.newest:
        minute = p.newest - 1
    r = pool_resource(p, resource, minute, &failed)
    if failed:
        return failed
    if r != NULL:
        minute = r.minute
    if s.minute != minute or s.count == 0:
        if s.count:
            learn(s)
        s.minute = <uint32_t>minute
        s.sum = 0.0
        s.count = 0
        s.said = 0
        if r != NULL:
            r.series += 1
    value = LARGEST if value > LARGEST else -LARGEST if value < -LARGEST else value
    s.sum += value
    s.count += 1
    value = s.sum / s.count
    if r == NULL:
        return 0
    said = weighed(s, value)
    r.points += 1
    r.total += said - s.said
    r.odd += <uint32_t>(said >= ODD) - <uint32_t>(s.said >= ODD)
    if said >= ODD or s.said >= ODD:
        name(r, s, value, said)
    s.said = said
    if r.points == r.usual and not r.given:
        r.given = 1
        if pool_over(p, r):
            return NO_MEMORY
    return 0


cdef inline bint finite(double value) noexcept nogil:
    return value - value == 0.0


cdef int pool_begun(
    Pool* p, size_t n, const uint64_t* series, const double* values, const unsigned char* skip, size_t* upto
) noexcept nogil:
    """Make room for every series that is new; `upto` points were looked at."""
    cdef size_t i
    for i in range(n):
        upto[0] = i
        if series[i] == 0:
            return NO_ID
        if (skip != NULL and skip[i]) or not finite(values[i]) or table_find(&p.series, series[i]) != NULL:
            continue
        if p.series.count >= p.most:
            return NO_ROOM
        if table_add(&p.series, series[i]) == NULL:
            return NO_MEMORY
    upto[0] = n
    return 0


cdef int pool_take(
    Pool* p, size_t n, const uint64_t* series, const uint64_t* resources, const uint64_t* times_ns, const double* values,
    const unsigned char* skip,
) noexcept nogil:
    cdef size_t i, upto = 0
    cdef Series* s
    cdef int failed = pool_begun(p, n, series, values, skip, &upto)
    if failed:  # whoever knows nothing was not there before
        for i in range(upto):
            s = <Series*>table_find(&p.series, series[i]) if series[i] else NULL
            if s != NULL and s.count == 0 and s.learned == 0:
                table_drop(&p.series, series[i])
        return failed
    for i in range(n):
        if (skip != NULL and skip[i]) or not finite(values[i]):
            continue
        s = <Series*>table_find(&p.series, series[i])
        failed = pool_point(p, s, resources[i], times_ns[i], values[i])
        if failed:
            return failed
    return 0
