"""Of the kernel in series.pyx: a batch of points, without the GIL."""

cdef enum:
    TAKEN = 0
    DUPLICATE = 1
    IS_LATE = 2
    NOT_FINITE = 3
    NO_SERIES = 1       # why a batch was refused
    TOO_MANY = 2
    NO_MEMORY = 3
    AHEAD = 12           # points by which memory is fetched before it is needed
    WATCHED = 8
    LINE = 64           # bytes


cdef struct Batch:
    const uint64_t* ids
    const uint64_t* times_ns
    const double* values
    Py_ssize_t count
    unsigned char* status
    double* watched[WATCHED]  # bits, p_value, score, expected, low, high, level, rank; or NULL
    Series** states         # one a point; NULL where the value is not finite
    Found* found            # alarms, with room for as many as there can be
    Py_ssize_t found_count


cdef struct Found:
    Py_ssize_t index
    Judged judged


cdef inline bint is_finite(double v) noexcept nogil:
    return (to_bits(v) >> MANTISSA & 0x7FF) != 0x7FF


cdef int make_room(Table* t, Batch* b, size_t series_max) noexcept nogil:
    """Find or make the series of every point; -> 0, or why the batch is refused, with the table as it was."""
    cdef Py_ssize_t i, k
    cdef Series* state = NULL
    cdef int refused = 0
    for i in range(b.count):
        b.states[i] = NULL
        if b.ids[i] == 0:
            refused = NO_SERIES
            break
        if not is_finite(b.values[i]):
            continue
        if state == NULL or state.id != b.ids[i]:
            state = table_cell(t, b.ids[i]).state
            if state == NULL:
                if t.count >= series_max:
                    refused = TOO_MANY
                    break
                state = table_add(t, b.ids[i])
                if state == NULL:
                    refused = NO_MEMORY
                    break
        b.states[i] = state
    if refused:
        for k in range(i):  # NULL comes only where no series was made
            if b.states[k] != NULL and table_cell(t, b.ids[k]).state != NULL and table_cell(t, b.ids[k]).state.points == 0:
                table_drop(t, b.ids[k])
    return refused


cdef inline double p_of(double tail) noexcept nogil:
    """10 to the power -tail: (0, 1]."""
    return smallest(power_of_two(-tail * LOG2_10), 1.0)


cdef inline double bar_of(double alarm_level) noexcept nogil:
    """Rank from which a single point alarms: as much above the usual one as the alarm level is."""
    return POINT_BAR + (alarm_level - LEVEL_UNIT)


cdef inline double score_of(const Judged* j, double alarm_level) noexcept nogil:
    """[0, 1): by rank, in the upper half if it alarms and in the lower half if not."""
    cdef double over = j.rank - bar_of(alarm_level)
    return (0.75 if j.alarms else 0.25) + 0.25 * over / ((over if over >= 0.0 else -over) + SCORE_HALF)


cdef void watch_point(Batch* b, Py_ssize_t i, const Judged* j, double alarm_level) noexcept nogil:
    b.watched[0][i] = j.bits
    b.watched[1][i] = p_of(j.tail)
    b.watched[2][i] = score_of(j, alarm_level)
    b.watched[3][i] = j.expected
    b.watched[4][i] = j.low
    b.watched[5][i] = j.high
    b.watched[6][i] = j.level
    b.watched[7][i] = j.rank


cdef inline size_t alarms_at_most(Py_ssize_t count, size_t series) noexcept nogil:
    """In a batch of `count` points of so many series: silence of its own follows each alarm of a channel."""
    return <size_t>smallest(<double>count, 2.0 * (<double>count / QUIET_SPIKE + <double>series)) + 1


cdef void fetch(const Series* s, uint64_t time_ns) noexcept nogil:
    """Ask for the memory that a point will need, while another one is judged."""
    cdef uint64_t second = time_ns // 1000000000
    cdef int day_slot = <int>(second % DAY_S // QUARTER_HOUR_S), week_slot = <int>((second + MONDAY_S) % WEEK_S // HOUR_S)
    cdef const char* start = <const char*>s
    cdef const char* end = <const char*>s.point_bins
    while start < end:
        fetch_ahead(start)
        start += LINE
    fetch_bins(s.point_bins)
    fetch_bins(s.window_bins)
    fetch_bins(s.evidence_bins)
    fetch_bins(s.spike_bins)
    fetch_bins(s.shift_bins)
    fetch_ahead(&s.day[day_slot])
    fetch_ahead(&s.day_scale[day_slot])
    fetch_ahead(&s.day_counts[day_slot])
    fetch_ahead(&s.week[week_slot])
    fetch_ahead(&s.week_scale[week_slot])
    fetch_ahead(&s.week_counts[week_slot])
    fetch_ahead(&s.past_week[week_slot])


cdef inline void fetch_bins(const float* bins) noexcept nogil:
    """The lower ones, where most values are."""
    fetch_ahead(bins)
    fetch_ahead(bins + LINE // sizeof(float))
    fetch_ahead(bins + 2 * LINE // sizeof(float))


cdef void run(Batch* b, double alarm_level) noexcept nogil:
    """Judge and learn."""
    cdef Judged judged
    cdef Series* s
    cdef Py_ssize_t i
    cdef int k
    for i in range(b.count):
        s = b.states[i]
        if i + AHEAD < b.count and b.states[i + AHEAD] != NULL and b.states[i + AHEAD] != s:
            fetch(b.states[i + AHEAD], b.times_ns[i + AHEAD])
        b.status[i] = TAKEN
        if s == NULL:
            b.status[i] = NOT_FINITE
        elif s.points > 0 and b.times_ns[i] <= s.last_ns:
            b.status[i] = DUPLICATE if b.times_ns[i] == s.last_ns else IS_LATE
        if b.status[i] == TAKEN:
            take(s, b.values[i], b.times_ns[i], alarm_level, &judged)
            if judged.alarms:
                b.found[b.found_count].index = i
                b.found[b.found_count].judged = judged
                b.found_count += 1
            if b.watched[0] != NULL:
                watch_point(b, i, &judged, alarm_level)
        elif b.watched[0] != NULL:
            for k in range(WATCHED):
                b.watched[k][i] = NAN
