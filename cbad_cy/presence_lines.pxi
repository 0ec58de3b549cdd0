"""Of the kernel in presence.pyx: the usual lines of a stream, those that come in most of its minutes."""

cdef enum:
    LINES = 32
    PLACES = 128                 # of the index over them
    DOOR = 64                    # cells in which lines wait that are not yet usual
    TEXT = 120
    FIRST_MINUTES = 3            # minutes in which a line came, before it is given a place
    HALF_MINUTES = 1440          # minutes with events after which what is usual counts half


cdef struct Line:
    uint64_t id                  # number of its template, 0: free
    uint64_t last_ns
    uint64_t longest_ns          # silence ever
    uint64_t last_event          # index in the stream
    uint64_t last_active         # what the stream's clock of activity said then, ms
    uint64_t entry_active        # and when a silence of it was counted last
    uint64_t first_active
    uint64_t seen                # silences ever counted
    uint32_t worth               # minutes in which it came, decayed
    uint8_t told                 # its present silence was told
    uint8_t size                 # bytes of text
    uint8_t text[TEXT]
    Tail time                    # ms of activity
    Tail events


cdef struct Waiting:
    uint32_t mark                # 0: free
    uint32_t minute
    uint32_t minutes


cdef struct Lines:
    Line line[LINES]
    Waiting door[DOOR]
    uint32_t minutes             # with events, since worth was halved
    int known


cdef void lines_index(Lines* it, int8_t* index) noexcept nogil:
    cdef int i, at
    memset(index, -1, PLACES)
    for i in range(it.known):
        at = <int>(stirred(it.line[i].id) & (PLACES - 1))
        while index[at] >= 0:
            at = (at + 1) & (PLACES - 1)
        index[at] = <int8_t>i


cdef int line_of(Lines* it, const int8_t* index, uint64_t template) noexcept nogil:
    """Place of a line; -1: it has none."""
    cdef int at = <int>(stirred(template) & (PLACES - 1))
    while index[at] >= 0:
        if it.line[index[at]].id == template:
            return index[at]
        at = (at + 1) & (PLACES - 1)
    return -1


cdef int least_line(Lines* it) noexcept nogil:
    """Place of the line that is worth least, of equals the one that came in last."""
    cdef int i, at = 0
    for i in range(1, it.known):
        if it.line[i].worth <= it.line[at].worth:
            at = i
    return at


cdef int knock(Lines* it, uint64_t template, uint32_t minute) noexcept nogil:
    """A line without a place comes: the place that it is given, or -1. It needs to come in more minutes than who has to leave."""
    cdef uint64_t h = stirred(template)
    cdef Waiting* cell = &it.door[h & (DOOR - 1)]
    cdef uint32_t mark = <uint32_t>(h >> 32) | 1
    cdef int at
    if cell.minute == minute and cell.mark:
        return -1  # one line a minute and cell
    cell.minute = minute
    if cell.mark != mark:
        if cell.minutes > 1:
            cell.minutes -= 1
        else:
            cell.mark = mark
            cell.minutes = 1
        return -1
    cell.minutes += 1
    if cell.minutes < FIRST_MINUTES:
        return -1
    if it.known < LINES:
        at = it.known
        it.known += 1
    else:
        at = least_line(it)
        if it.line[at].worth >= cell.minutes:
            return -1
    memset(&it.line[at], 0, sizeof(Line))
    it.line[at].id = template
    it.line[at].worth = cell.minutes
    memset(cell, 0, sizeof(Waiting))
    return at


cdef void note_text(Line* line, const uint8_t* text, size_t size) noexcept nogil:
    """Keep its beginning, without a UTF-8 character that would be cut in two."""
    if size > TEXT:
        size = TEXT
        while size and text[size] & 0xC0 == 0x80:
            size -= 1
    if size:
        memcpy(line.text, text, size)
    line.size = <uint8_t>size


cdef void line_came(Line* line, uint64_t time_ns, uint64_t active, uint64_t event, uint64_t minute_ns) noexcept nogil:
    """`active` in ms; the open minute began at `minute_ns`. Silences are counted at most once a second: what comes in a burst comes once."""
    if line.last_ns < minute_ns:
        line.worth += 1
    if active - line.entry_active >= 1000:
        line.seen += 1
        tail_add(&line.time, active - line.last_active)
        tail_add(&line.events, event - line.last_event)
        line.entry_active = active
    if time_ns - line.last_ns > line.longest_ns:
        line.longest_ns = time_ns - line.last_ns
    line.last_ns = time_ns
    line.last_active = active
    line.last_event = event
    line.told = 0


cdef void halve_worth(Lines* it) noexcept nogil:
    cdef int i
    it.minutes = 0
    for i in range(it.known):
        it.line[i].worth = (it.line[i].worth + 1) >> 1
    for i in range(DOOR):
        it.door[i].minutes = (it.door[i].minutes + 1) >> 1


cdef double line_threshold(Line* line) noexcept nogil:
    """The share of its silences that may be told, so that of one line LINE_DAY are told falsely in a day."""
    cdef double days = <double>(line.last_active - line.first_active) / <double>(DAY_NS // MS_NS)
    cdef double p = LINE_DAY * days / line.seen if line.seen else 1.0
    return p if p < LINE_DAY else LINE_DAY


cdef double line_bits(Line* line, uint64_t active, uint64_t event) noexcept nogil:
    """Bits against its present silence, by activity and by events: the more cautious; 0 where it is not to be judged."""
    cdef uint64_t ms = active - line.last_active, events = event - line.last_event
    cdef double one, other
    if line.told or line.seen < GAPS_NEEDED or ms < SILENT_NS // MS_NS:
        return 0.0
    if line.last_active - line.first_active < LINE_SPAN_MS:
        return 0.0
    if ms < tail_longest(&line.time) + tail_longest(&line.time) // 2:
        return 0.0
    if events < tail_longest(&line.events) + tail_longest(&line.events) // 2:
        return 0.0
    one = tail_bits(&line.time, ms)
    other = tail_bits(&line.events, events)
    return one if one < other else other
