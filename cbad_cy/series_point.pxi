"""Of the kernel in series.pyx: one point of one series, from its value to its alarm level."""

cdef void begin(Series* s, double v, uint64_t time_ns) noexcept nogil:
    """The first point; `s` is all zero but for its id."""
    cdef int k
    s.prev = s.before = s.fast = s.level = s.slow = s.trend_level = s.origin = s.low = s.high = v
    s.band = BAND_FIRST
    s.flat_ns = time_ns
    for k in range(EXPERT_COUNT):
        s.weights[k] = 1.0 / EXPERT_COUNT
    s.point_code.weight = s.window_code.weight = s.evidence.weight = s.gap_weight = 1.0
    s.spike.weight = s.shift.weight = 1.0
    begin_past(s, v)


cdef double flatline_bits(Series* s, double v, uint64_t time_ns) noexcept nogil:
    """Bits of the newest run of equal values, under an adaptive code of repeats; call it from the second point on.

    In each of three contexts a repeat has the share of Krichevsky and Trofimov, drawn towards that of all contexts together.
    """
    cdef int context = 0 if s.run == 0 else 1 if s.run <= 4 else 2
    cdef double seen = s.run_seen[0] + s.run_seen[1] + s.run_seen[2], share
    if v == s.prev:
        share = (s.run_equal[0] + s.run_equal[1] + s.run_equal[2] + 0.5) / (seen + 1.0)
        if s.run < RUN_MOST:
            s.run += 1
        s.run_bits -= log2_of((s.run_equal[context] + share) / (s.run_seen[context] + 1.0))
        s.run_equal[context] += 1.0
    else:
        s.run = 0
        s.run_bits = 0.0
        s.flat_told = 0
        s.flat_ns = time_ns
    s.run_seen[context] += 1.0
    return s.run_bits


cdef double flatline_level(const Series* s, double bits) noexcept nogil:
    """Level of the run of equal values, until it was told: a run is told once, and not lost in a time of silence."""
    if s.run < FLAT_LEAST or s.flat_told:
        return 0.0
    return largest(smallest(LOG10_2 * bits - FLAT_PRICE, FLAT_MOST), 0.0)


cdef void learn_pace(Series* s, uint64_t time_ns) noexcept nogil:
    """The usual distance in time (a running median in steps of a share), and the pauses."""
    cdef double gap = <double>(time_ns - s.last_ns) * 1e-9, gain = largest(0.02, 1.0 / (s.points + 1))
    if s.step_s == 0.0:
        s.step_s = gap
    elif gap > s.step_s * 1.001:
        s.step_s *= 1.0 + gain
    elif gap < s.step_s * 0.999:
        s.step_s /= 1.0 + gain
    learn_gap(s, gap)


cdef struct Sources:
    # What a point's level is made of.
    double deviation  # from what the long past expects, in scales, signed
    double size       # of it
    double beyond     # by which share of the range it is a record
    double point      # -log10 of a share: the point code
    double window     # the same: the window code
    double spike      # the same: the deviation
    double shift      # the same: the mean deviation of many points
    bint told         # since it went to this side there was an alarm
    double rate       # powers of ten: how many more points a day than one every five minutes
    bint fresh        # no spike of this size is in the past


cdef void weigh(Series* s, Sources* f, Judged* out) noexcept nogil:
    """The codes -> evidence, in -log10 of a share, and its largest term."""
    cdef double window = 0.0, record
    s.smooth += largest(SMOOTH_GAIN, 1.0 / (s.points + 1)) * (out.bits - s.smooth)
    f.point = rareness(&s.point_code, s.point_bins, &POINT_RULER, s.smooth)
    if s.points >= WINDOW - 1:
        window = window_bits(s)
    f.window = rareness(&s.window_code, s.window_bins, &WINDOW_RULER, window)
    if s.step_s > 0.0:
        f.window *= smallest(1.0, s.step_s / RATE_UNIT_S)
    record = record_code(s, f.beyond, f.size)
    out.evidence = largest(f.point, record) + LESSER * smallest(f.point, record) + f.window
    out.tail = rareness(&s.evidence, s.evidence_bins, &EVIDENCE_RULER, out.evidence)
    out.cause = BY_RANGE if record > f.point and record > f.window else BY_PATTERN if f.window > f.point else BY_VALUE


cdef void weigh_deviation(Series* s, uint64_t time_ns, Sources* f) noexcept nogil:
    """How rare it is, alone and in the mean of many points."""
    cdef double young = 1.0 / (s.points + 1), before = s.few
    s.few += largest(FEW_GAIN, young) * (f.deviation - s.few)
    if (s.few > 0.0) != (before > 0.0):
        s.side = s.points
        s.side_ns = time_ns
    f.told = s.alarmed > s.side
    s.many += largest(MANY_GAIN, young) * (bounded(f.deviation, MANY_CLIP) - s.many)
    f.spike = rareness(&s.spike, s.spike_bins, &SPIKE_RULER, f.size)
    f.shift = rareness(
        &s.shift, s.shift_bins, &SHIFT_RULER, log2_of(1.0 + MANY_STRETCH * (s.many if s.many >= 0.0 else -s.many)))
    f.fresh = f.size > FRESH * s.widest
    if s.points >= CELLS_FROM:
        s.widest = largest(s.widest * FRESH_FORGETS, f.size)


cdef void combine(Series* s, const Sources* f, Judged* out) noexcept nogil:
    """Evidence -> the level that an alarm is decided by, and the rank of the point.

    Half of what is rare for this series, a third of what is rare by the prior; less for a young series and for one with more
    points a day, which has more chances to be wrong. Or a shift, or a spike such as there was none, if that is more.
    """
    cdef double age = s.points + 1.0, level
    out.level = (PAST_SHARE * out.tail + PRIOR_SHARE * out.evidence) * age / (age + AGE) - RATE_SHARE * f.rate
    if s.points < YOUNG_LEVEL:
        out.level = 0.0
    out.tail_told = out.tail
    out.evidence_told = out.evidence
    if s.points >= YOUNG_SUDDEN:
        level = LEVEL_UNIT + f.spike - SPIKE_PRICE - SUDDEN_RATE_SHARE * f.rate
        if f.fresh:
            out.spike_level = level
        if f.fresh and level > out.level:
            out.level = level
            out.cause = BY_VALUE
            out.by_past = True
            out.tail_told = f.spike
            out.evidence_told = largest(out.evidence, f.spike)
        level = LEVEL_UNIT + f.shift - SHIFT_PRICE - SUDDEN_RATE_SHARE * f.rate
        if level > out.level and not f.told:
            out.level = level
            out.cause = BY_SHIFT
            out.by_past = True
            out.tail_told = f.shift
            out.evidence_told = largest(out.evidence, f.shift)
    out.rank = log2_of(1.0 + 0.5 * (f.size + (s.few if s.few >= 0.0 else -s.few))) + RANK_POINT * f.point - f.rate


cdef void decide(Series* s, uint64_t time_ns, double flat, double alarm_level, Judged* out) noexcept nogil:
    """Whether it alarms, since when it is surprising, and what comes after an alarm: silence."""
    cdef bint is_flat = flat > out.level
    if is_flat:
        out.level = flat
        out.cause = BY_FLATLINE
        out.by_past = False
        out.tail_told = flat
        out.evidence_told = largest(out.evidence, flat)
    if out.level < RUN_SHARE * alarm_level:
        s.since_ns = 0
    elif s.since_ns == 0:
        s.since_ns = time_ns
    out.since_ns = s.since_ns if s.since_ns else time_ns
    if is_flat:
        out.since_ns = s.flat_ns
    elif out.cause == BY_SHIFT and s.side_ns != 0:
        out.since_ns = s.side_ns
    out.alarms = out.level >= alarm_level and s.points >= s.quiet_until
    if out.spike_level >= alarm_level and (s.alarmed == 0 or s.points >= s.alarmed - 1 + QUIET_SPIKE):
        out.alarms = True
    if out.alarms:
        if is_flat:
            s.flat_told = 1
        s.alarmed = s.points + 1
        s.quiet_until = s.points + <uint64_t>smallest(largest(QUIET_SHARE * s.points, QUIET_LEAST), QUIET_MOST)
    out.level = largest(out.level, 0.0)


cdef void decide_point(Series* s, const Sources* f, uint64_t time_ns, double alarm_level, Judged* out) noexcept nogil:
    """The point channel: the rank of a single point, with a budget of its own; nothing that the level uses is touched.

    The first of the points at or over the bar takes its place in the budget, a rate and a burst, by the generic cell rate
    algorithm (ITU-T Recommendation I.371) in whole minutes of event time. If there is one, it alarms, unless the level does or
    did just before: then it was told.
    """
    cdef uint32_t place = <uint32_t>s.points, since = place - s.over, minute = <uint32_t>(time_ns // MINUTE_NS)
    if s.points < YOUNG_LEVEL or out.rank < bar_of(alarm_level):
        return
    s.over = place
    if since <= QUIET_SPIKE or s.point_minute > minute + (POINT_BURST - 1) * POINT_MINUTES:
        return
    s.point_minute = (s.point_minute if s.point_minute > minute else minute) + POINT_MINUTES
    if s.alarmed != 0 and s.points - (s.alarmed - 1) <= QUIET_SPIKE:
        return
    out.alarms = out.by_past = True
    out.cause = BY_POINT
    out.since_ns = time_ns
    out.tail_told = largest(f.spike, f.point)
    out.evidence_told = largest(out.evidence, out.tail_told)


cdef void take(Series* s, double given, uint64_t time_ns, double alarm_level, Judged* out) noexcept nogil:
    """Judge a finite value at a time after the last one; then learn it."""
    cdef Prediction prediction
    cdef double masses[EXPERT_COUNT]
    cdef double v = bounded(given, VALUE_MOST), mass, flat = 0.0
    cdef uint64_t second = time_ns // 1000000000
    cdef int day_slot = <int>(second % DAY_S // QUARTER_HOUR_S), week_slot = <int>((second + MONDAY_S) % WEEK_S // HOUR_S)
    cdef int place = <int>(s.points % WINDOW)
    cdef Sources sources
    memset(out, 0, sizeof(Judged))
    memset(&sources, 0, sizeof(sources))
    s.gaps_s[place] = 0.0
    if s.points == 0:
        begin(s, v, time_ns)
        out.expected = out.low = out.high = v
    else:
        s.gaps_s[place] = <float>(<double>(time_ns - s.last_ns) * 1e-9)
        learn_pace(s, time_ns)
        sources.rate = log10_of(RATE_UNIT_S / s.step_s)
        predict(s, day_slot, week_slot, v, &prediction)
        expect(s, &prediction, out)
        mass = price(s, v, &prediction, masses)
        out.bits = largest(-log2_of(mass), 0.0)
        reward(s, v, &prediction, masses, mass)
        learn_band(s, v, out)
        learn_step(s, v)
        sources.deviation = deviation(s, v, second, week_slot, out)
        sources.size = sources.deviation if sources.deviation >= 0.0 else -sources.deviation
        flat = flatline_bits(s, v, time_ns)
    learn_levels(s, v)
    learn_seasons(s, v, day_slot, week_slot)
    sources.beyond = slide_window(s, v)
    if s.points == CELLS_FROM:
        begin_cells(s)
    elif s.points > CELLS_FROM:
        learn_cells(s, v)
    weigh(s, &sources, out)
    weigh_deviation(s, time_ns, &sources)
    combine(s, &sources, out)
    decide(s, time_ns, flatline_level(s, flat), alarm_level, out)
    decide_point(s, &sources, time_ns, alarm_level, out)
    s.ahead[place] = signed_short_of(bounded(out.expected - v, TABLE_MOST))
    s.reach[place] = short_of(smallest(out.high - out.expected, TABLE_MOST))
    if out.alarms and out.by_past:
        set_range(s, out.past_expected, out.past_reach, out)
    s.before = s.prev
    s.prev = v
    s.last_ns = time_ns
    s.points += 1
    out.points = s.points
