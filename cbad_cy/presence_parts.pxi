"""Of the kernel in presence.pyx: what is stored, and whether what was stored can be true."""


cdef void exchange_lines(Line* line, int known, unsigned char* stored, bint back) noexcept nogil:
    """Lines to or from bytes: texts one after another, then the first byte of each line, the second of each, and so on.

    Counts and times of one kind look alike in their high bytes, and a compressor finds that only when they stand together.
    """
    cdef size_t k, text = <size_t>(<unsigned char*>line[0].text - <unsigned char*>line)
    cdef unsigned char* at
    cdef int i
    for i in range(known):
        if back:
            memcpy(line[i].text, stored, TEXT)
        else:
            memcpy(stored, line[i].text, TEXT)
        stored += TEXT
    for k in range(sizeof(Line)):
        if text <= k < text + TEXT:
            continue
        for i in range(known):
            at = <unsigned char*>&line[i] + k
            if back:
                at[0] = stored[0]
            else:
                stored[0] = at[0]
            stored += 1


cdef bint amount(double x) noexcept nogil:
    return 0.0 <= x < 1e18


cdef bint sound(State* s) noexcept nogil:
    """Is it possible at all? Everything that is an index, a size or a number with a range."""
    cdef int i, k
    cdef Line* line
    cdef Week* w = &s.week
    if s.lines.known < 0 or s.lines.known > LINES or s.live > 1:
        return False
    if not s.first_ns <= s.watermark_ns <= TIME_MOST_NS or s.received_first_ns > s.received_ns or s.received_ns > TIME_MOST_NS:
        return False
    if s.minute_end_ns % MINUTE_NS or w.hour_end_ns % HOUR_NS or s.due_ns > TIME_MOST_NS + TIME_MOST_NS:
        return False
    if s.entry_ns > s.watermark_ns or s.active_ns > s.watermark_ns:
        return False
    if s.events and (s.minute_end_ns <= s.watermark_ns or w.hour_end_ns <= s.watermark_ns):
        return False
    if not (amount(w.mean) and amount(w.heard) and amount(w.expected) and amount(w.count)) or w.whole > 1:
        return False
    for i in range(SLOTS):
        if not amount(w.rate[i]) or w.seen[i] > SLOT_WEEKS:
            return False
    for i in range(s.lines.known):
        line = &s.lines.line[i]
        if line.id == 0 or line.size > TEXT or line.told > 1:
            return False
        if line.last_active > s.active_ns // MS_NS or line.entry_active > line.last_active or line.first_active > line.last_active:
            return False
        if line.last_event >= s.events or line.last_ns > s.watermark_ns:
            return False
        for k in range(i):
            if s.lines.line[k].id == line.id:
                return False
    return True
