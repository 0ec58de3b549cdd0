"""Of slide.pyx: what all windows of a batch were scored, flagged or not, by the minute of event time in which they ended."""


cdef struct Scored:
    # One evaluated window; `place` is the place in the batch of its last line.
    size_t place
    double surprise
    double distance
    double p_value


cdef struct Scores:
    # The windows of one batch, in their order.
    Scored* windows
    size_t count
    size_t room


cdef enum:
    SCORED_ROOM_KEPT = 64


cdef int scores_reserve(Scores* scores, size_t windows) except -1:
    """Room for so many more windows of this batch; of a large one before not much is kept."""
    cdef size_t room = scores.count + windows
    cdef Scored* grown
    if room <= scores.room and scores.room <= 4 * room + SCORED_ROOM_KEPT:
        return 0
    grown = <Scored*>realloc(scores.windows, room * sizeof(Scored))
    if grown == NULL:
        raise MemoryError("no room for the scores of a batch")
    scores.windows, scores.room = grown, room
    return 0


cdef void scores_note(Scores* scores, size_t place, double surprise, double distance, double p_value) noexcept nogil:
    """What a window was scored; there is room."""
    cdef Scored* it = &scores.windows[scores.count]
    it.place, it.surprise, it.distance, it.p_value = place, surprise, distance, p_value
    scores.count += 1


cdef struct Minute:
    uint64_t number              # since 1970
    uint64_t events
    uint64_t windows
    double surprise
    double distance
    double p_value


class MinuteTold(NamedTuple):
    """A minute of event time, counted since 1970: events in it and windows that ended in it.

    `surprise` and `distance` are the largest of a window, `p_value` is the smallest; without a window they are 0, 0 and 1.
    The distance of a window is looked at only where its p-value is low, or now and then; else it counts as 0.
    """

    minute: int
    events: int
    windows: int
    surprise: float
    distance: float
    p_value: float


def minutes_of(const unsigned long long[::1] times_ns, Slide slide=None):
    """The minutes in which these records lie, in ascending order: a list of `MinuteTold`.

    With a `slide` the records are those of its last `feed`, all of them taken, and its windows are told; else none is.
    Raises ValueError when these are not as many records as were fed.
    """
    cdef Py_ssize_t i, n = times_ns.shape[0]
    cdef size_t known = 0, room = 0, at = 0, k
    cdef Minute* minutes = NULL
    cdef Minute* grown
    cdef uint64_t number
    cdef Scored* it
    if slide is not None and slide.lines != slide.fed_at + <uint64_t>n:
        raise ValueError(f"{n} times for {slide.lines - slide.fed_at} lines; give one for each line of the batch")
    places = {}
    try:
        for i in range(n):
            number = times_ns[i] // MINUTE_NS
            if known == 0 or minutes[at].number != number:
                place = places.get(number)
                if place is None:
                    if known == room:
                        room = 2 * room + 4
                        grown = <Minute*>realloc(minutes, room * sizeof(Minute))
                        if grown == NULL:
                            raise MemoryError("no room for the minutes of a batch")
                        minutes = grown
                    minutes[known].number = number
                    minutes[known].events = minutes[known].windows = 0
                    minutes[known].surprise = minutes[known].distance = 0.0
                    minutes[known].p_value = 1.0
                    places[number] = place = known
                    known += 1
                at = place
            minutes[at].events += 1
        if slide is not None:
            for k in range(slide.scored.count):
                it = &slide.scored.windows[k]
                number = times_ns[it.place] // MINUTE_NS
                if minutes[at].number != number:
                    at = places[number]
                minutes[at].windows += 1
                minutes[at].surprise = max(minutes[at].surprise, it.surprise)
                minutes[at].distance = max(minutes[at].distance, it.distance)
                minutes[at].p_value = min(minutes[at].p_value, it.p_value)
        told = [
            MinuteTold(
                minutes[k].number, minutes[k].events, minutes[k].windows, minutes[k].surprise, minutes[k].distance,
                minutes[k].p_value)
            for k in range(known)
        ]
    finally:
        free(minutes)
    told.sort()
    return told
