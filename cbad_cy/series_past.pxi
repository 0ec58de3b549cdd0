"""Of the kernel in series.pyx: the slow channel. How far the newest points are from what the long past expects.

No part of it follows the newest points, so a shift stays visible while the experts of the point code have long adapted to it.
Three predictors: a level; a regression on three harmonics of the day, by recursive least squares with forgetting (Plackett,
"Some Theorems in Least Squares", Biometrika 37, 1950), which knows a season after two or three days; and beyond that the mean
of each hour of the week. The one with the least error so far has the say. Errors are clipped before they teach.
"""

cdef void begin_past(Series* s, double v) noexcept nogil:
    s.past_level = v
    begin_covariance(s)


cdef void begin_covariance(Series* s) noexcept nogil:
    """As much as may be: a constant of ten scales, harmonics of less the higher they are."""
    cdef int i
    memset(s.covariance, 0, sizeof(s.covariance))
    s.covariance[0] = SEASON_TRACE
    for i in range(1, FEATURES):
        s.covariance[i * (i + 3) // 2] = SEASON_PRIOR / ((i + 1) // 2)


cdef void features(uint64_t second, double* f) noexcept nogil:
    """1, then sine and cosine of one, two and three turns a day."""
    f[0] = 1.0
    turn(second % DAY_S / <double>DAY_S, &f[1], &f[2])
    f[3] = 2.0 * f[1] * f[2]
    f[4] = f[2] * f[2] - f[1] * f[1]
    f[5] = f[3] * f[2] + f[4] * f[1]
    f[6] = f[4] * f[2] - f[3] * f[1]


cdef void learn_regression(Series* s, const double* f, double error) noexcept nogil:
    """One step of recursive least squares. While little is known in all, nothing is forgotten."""
    cdef double g[FEATURES]
    cdef double total = SEASON_FORGETS, trace = 0.0, c
    cdef int i, k, at = 0
    for i in range(FEATURES):
        g[i] = 0.0
        for k in range(i):
            c = s.covariance[at]
            g[i] += c * f[k]
            g[k] += c * f[i]
            at += 1
        g[i] += s.covariance[at] * f[i]
        at += 1
    for i in range(FEATURES):
        total += g[i] * f[i]
    if not total >= SEASON_FORGETS:  # rounding has made it indefinite
        begin_covariance(s)
        return
    total = 1.0 / total
    at = 0
    for i in range(FEATURES):
        c = g[i] * total
        s.season[i] += c * error
        for k in range(i + 1):
            s.covariance[at] -= c * g[k]
            at += 1
        trace += s.covariance[at - 1]
    if trace < SEASON_TRACE:
        for i in range(COVARIANCES):
            s.covariance[i] *= 1.0 / SEASON_FORGETS


cdef double deviation(Series* s, double v, uint64_t second, int week_slot, Judged* out) noexcept nogil:
    """Of `v` from the best of three expectations, in its scales, signed; then learn `v`. Call it before seasons are learned."""
    cdef double f[FEATURES]
    cdef double means[PASTS]
    cdef double gain = largest(PAST_GAIN, 1.0 / (s.points + 1)), usual, floor, scale, error, clipped, found = 0.0
    cdef double visits = s.week_counts[week_slot]
    cdef int k, best = 0
    features(second, f)
    means[0] = s.past_level
    means[1] = s.origin
    for k in range(FEATURES):
        means[1] += s.season[k] * f[k]
    if not -PAST_MOST < means[1] < PAST_MOST:
        memset(s.season, 0, sizeof(s.season))
        begin_covariance(s)
        means[1] = v
    means[2] = means[1] + s.past_week[week_slot] * visits / (visits + 1.0)
    for k in range(1, PASTS):
        if s.errors[k] < s.errors[best]:
            best = k
    usual = v if v >= 0.0 else -v
    floor = 0.3 * largest(largest(s.least, 1e-3 * s.change), usual * FINEST_SHARE + FINEST)
    if s.points < YOUNG:
        floor = largest(floor, 0.1 * (s.prev if s.prev >= 0.0 else -s.prev))
    for k in range(PASTS):
        scale = largest(largest(s.errors[k], PAST_ROUGH * s.rough[k]), floor)
        error = bounded(v - means[k], 4.0 * VALUE_MOST)
        if k == best:
            found = bounded(error / scale, DEVIATION_MOST)
            out.past_expected = means[k]
            out.past_reach = PAST_BAND * scale
        clipped = bounded(error, PAST_CLIP * scale) if s.points > CELLS_FROM else error
        s.errors[k] += gain * ((clipped if clipped >= 0.0 else -clipped) - s.errors[k])
        s.rough[k] += gain * ((error if error >= 0.0 else -error) - s.rough[k])
        if k == 0:
            s.past_level += gain * clipped
        elif k == 1:
            learn_regression(s, f, clipped)
        else:
            s.past_week[week_slot] = <float>bounded(
                s.past_week[week_slot] + largest(PAST_WEEK_GAIN, 1.0 / (visits + 2.0)) * clipped, TABLE_MOST)
    return found
